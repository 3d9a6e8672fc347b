#include "worker/nn/layers/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

// log(sum of exp(row)), without overflow: the maximum is taken out first.
template <typename T>
double LogSumExp(absl::Span<const T> row) {
  const double max = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (T value : row) sum += std::exp(value - max);
  return max + std::log(sum);
}

template <typename T>
class SoftmaxCrossEntropyOp final : public LayerOp<T, nn::SoftmaxCrossEntropy> {
 public:
  using LayerOp<T, nn::SoftmaxCrossEntropy>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    double sum = 0;
    for (int64_t n = 0; n < a.batch; ++n) {
      const absl::Span<const T> row = Row(a.inputs[0], n);
      double loss = LogSumExp(row);
      for (int64_t k = 0; k < Classes(); ++k) loss -= Target(k, a.labels[n]) * row[k];
      sum += loss;
    }
    a.output[0] = static_cast<T>(sum / static_cast<double>(a.batch));
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    const Matrix<T> dx(a.input_gradients[0], Classes());
    const double scale = a.output_gradient[0] / static_cast<double>(a.batch);
    for (int64_t n = 0; n < a.batch; ++n) {
      const absl::Span<const T> row = Row(a.inputs[0], n);
      const double log_sum_exp = LogSumExp(row);
      for (int64_t k = 0; k < Classes(); ++k) {
        const double softmax = std::exp(row[k] - log_sum_exp);
        dx(n, k) = static_cast<T>((softmax - Target(k, a.labels[n])) * scale);
      }
    }
  }

 private:
  int64_t Classes() const { return this->input()[0]; }
  double Target(int64_t k, int64_t label) const {
    const double smoothing = this->layer().label_smoothing;
    return (k == label ? 1 - smoothing : 0) + smoothing / static_cast<double>(Classes());
  }
  absl::Span<const T> Row(absl::Span<const T> x, int64_t n) const {
    return x.subspan(n * Classes(), Classes());
  }
};

const RegisterOp<SoftmaxCrossEntropyOp> kEntry("softmax_cross_entropy");

}  // namespace
}  // namespace tessera::reference
