#include "worker/nn/layers/linear.h"

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

template <typename T>
class LinearOp final : public LayerOp<T, nn::Linear> {
 public:
  using LayerOp<T, nn::Linear>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Matrix<const T> x(a.inputs[0], In()), weight(a.weights, In());
    const Matrix<T> y(a.output, Out());
    const absl::Span<const T> bias = Bias(a.weights);
    for (int64_t n = 0; n < a.batch; ++n) {
      for (int64_t o = 0; o < Out(); ++o) {
        double sum = bias.empty() ? 0.0 : bias[o];
        for (int64_t i = 0; i < In(); ++i) sum += static_cast<double>(weight(o, i)) * x(n, i);
        y(n, o) = static_cast<T>(sum);
      }
    }
  }

  void Backward(const BackwardArguments<T>& a) const override {
    WeightGradients(a);
    if (!a.input_gradients[0].empty()) InputGradient(a);
  }

 private:
  int64_t In() const { return this->input()[0]; }
  int64_t Out() const { return this->layer().out_features; }

  template <typename U>
  absl::Span<U> Bias(absl::Span<U> block) const {
    return block.subspan(static_cast<size_t>(Out() * In()));
  }

  void WeightGradients(const BackwardArguments<T>& a) const {
    const Matrix<const T> x(a.inputs[0], In()), dy(a.output_gradient, Out());
    const Matrix<T> dweight(a.weight_gradients, In());
    const absl::Span<T> dbias = Bias(a.weight_gradients);
    for (int64_t o = 0; o < Out(); ++o) {
      for (int64_t i = 0; i < In(); ++i) {
        double sum = 0;
        for (int64_t n = 0; n < a.batch; ++n) sum += static_cast<double>(dy(n, o)) * x(n, i);
        dweight(o, i) = static_cast<T>(sum);
      }
      if (dbias.empty()) continue;
      double sum = 0;
      for (int64_t n = 0; n < a.batch; ++n) sum += dy(n, o);
      dbias[o] = static_cast<T>(sum);
    }
  }

  void InputGradient(const BackwardArguments<T>& a) const {
    const Matrix<const T> weight(a.weights, In()), dy(a.output_gradient, Out());
    const Matrix<T> dx(a.input_gradients[0], In());
    for (int64_t n = 0; n < a.batch; ++n) {
      for (int64_t i = 0; i < In(); ++i) {
        double sum = 0;
        for (int64_t o = 0; o < Out(); ++o) sum += static_cast<double>(dy(n, o)) * weight(o, i);
        dx(n, i) = static_cast<T>(sum);
      }
    }
  }
};

const RegisterOp<LinearOp> kEntry("linear");

}  // namespace
}  // namespace tessera::reference
