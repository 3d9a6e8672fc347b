#include "worker/nn/layers/global_avg_pool.h"

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

template <typename T>
class GlobalAvgPoolOp final : public LayerOp<T, nn::GlobalAvgPool> {
 public:
  using LayerOp<T, nn::GlobalAvgPool>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Matrix<T> y(a.output, x.channels());
    for (int64_t n = 0; n < a.batch; ++n) {
      for (int64_t c = 0; c < x.channels(); ++c) {
        double sum = 0;
        for (int64_t i = 0; i < x.height(); ++i) {
          for (int64_t j = 0; j < x.width(); ++j) sum += x(n, c, i, j);
        }
        y(n, c) = static_cast<T>(sum / Area());
      }
    }
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    const Images<T> dx(a.input_gradients[0], this->input());
    const Matrix<const T> dy(a.output_gradient, dx.channels());
    for (int64_t n = 0; n < a.batch; ++n) {
      for (int64_t c = 0; c < dx.channels(); ++c) {
        for (int64_t i = 0; i < dx.height(); ++i) {
          for (int64_t j = 0; j < dx.width(); ++j) dx(n, c, i, j) = static_cast<T>(dy(n, c) / Area());
        }
      }
    }
  }

 private:
  double Area() const { return static_cast<double>(this->input()[1] * this->input()[2]); }
};

const RegisterOp<GlobalAvgPoolOp> kEntry("global_avg_pool");

}  // namespace
}  // namespace tessera::reference
