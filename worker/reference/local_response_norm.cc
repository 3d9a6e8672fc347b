#include "worker/nn/layers/local_response_norm.h"

#include <algorithm>
#include <cmath>

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

template <typename T>
class LocalResponseNormOp final : public LayerOp<T, nn::LocalResponseNorm> {
 public:
  using LayerOp<T, nn::LocalResponseNorm>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<T> y(a.output, this->output());
    ForEach(x, a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      y(n, c, i, j) =
          static_cast<T>(x(n, c, i, j) * std::pow(Denominator(x, n, c, i, j), -this->layer().beta));
    });
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    const nn::LocalResponseNorm& layer = this->layer();
    const Images<const T> x(a.inputs[0], this->input());
    const Images<const T> dy(a.output_gradient, this->output());
    const Images<T> dx(a.input_gradients[0], this->input());
    ForEach(x, a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      double sum = 0;
      for (int64_t other = 0; other < x.channels(); ++other) {
        if (c < First(other) || c > Last(other, x)) continue;
        sum += static_cast<double>(dy(n, other, i, j)) * x(n, other, i, j) *
               std::pow(Denominator(x, n, other, i, j), -layer.beta - 1);
      }
      dx(n, c, i, j) = static_cast<T>(dy(n, c, i, j) * std::pow(Denominator(x, n, c, i, j), -layer.beta) -
                                      2 * layer.alpha * layer.beta / Size() * x(n, c, i, j) * sum);
    });
  }

 private:
  double Size() const { return static_cast<double>(this->layer().size); }

  // The window of channel `c`, both ends included.
  int64_t First(int64_t c) const { return std::max<int64_t>(c - this->layer().size / 2, 0); }
  int64_t Last(int64_t c, const Images<const T>& x) const {
    return std::min(c + (this->layer().size - 1) / 2, x.channels() - 1);
  }

  double Denominator(const Images<const T>& x, int64_t n, int64_t c, int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t other = First(c); other <= Last(c, x); ++other) {
      sum += static_cast<double>(x(n, other, i, j)) * x(n, other, i, j);
    }
    return this->layer().k + this->layer().alpha / Size() * sum;
  }

  template <typename Visit>
  static void ForEach(const Images<const T>& x, int64_t batch, const Visit& visit) {
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t c = 0; c < x.channels(); ++c) {
        for (int64_t i = 0; i < x.height(); ++i) {
          for (int64_t j = 0; j < x.width(); ++j) visit(n, c, i, j);
        }
      }
    }
  }
};

const RegisterOp<LocalResponseNormOp> kEntry("local_response_norm");

}  // namespace
}  // namespace tessera::reference
