#include "worker/nn/layers/adaptive_avg_pool.h"

#include <algorithm>

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

template <typename T>
class AdaptiveAvgPoolOp final : public LayerOp<T, nn::AdaptiveAvgPool> {
 public:
  using LayerOp<T, nn::AdaptiveAvgPool>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<T> y(a.output, this->output());
    ForEachOutput(a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      double sum = 0;
      ForEachPixel(i, j, [&](int64_t h, int64_t w) { sum += x(n, c, h, w); });
      y(n, c, i, j) = static_cast<T>(sum / Area(i, j));
    });
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    const Images<const T> dy(a.output_gradient, this->output());
    const Images<T> dx(a.input_gradients[0], this->input());
    std::fill(a.input_gradients[0].begin(), a.input_gradients[0].end(), T{0});
    ForEachOutput(a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      const T share = static_cast<T>(dy(n, c, i, j) / Area(i, j));
      ForEachPixel(i, j, [&](int64_t h, int64_t w) { dx(n, c, h, w) += share; });
    });
  }

 private:
  template <typename Visit>
  void ForEachOutput(int64_t batch, const Visit& visit) const {
    const Shape& output = this->output();
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t c = 0; c < output[0]; ++c) {
        for (int64_t i = 0; i < output[1]; ++i) {
          for (int64_t j = 0; j < output[2]; ++j) visit(n, c, i, j);
        }
      }
    }
  }

  // Calls visit(h, w) for every pixel of the window of output (i,j).
  template <typename Visit>
  void ForEachPixel(int64_t i, int64_t j, const Visit& visit) const {
    const Shape &in = this->input(), &out = this->output();
    using Layer = nn::AdaptiveAvgPool;
    for (int64_t h = Layer::WindowBegin(i, in[1], out[1]); h < Layer::WindowEnd(i, in[1], out[1]); ++h) {
      for (int64_t w = Layer::WindowBegin(j, in[2], out[2]); w < Layer::WindowEnd(j, in[2], out[2]); ++w) {
        visit(h, w);
      }
    }
  }

  double Area(int64_t i, int64_t j) const {
    double area = 0;
    ForEachPixel(i, j, [&](int64_t, int64_t) { ++area; });
    return area;
  }
};

const RegisterOp<AdaptiveAvgPoolOp> kEntry("adaptive_avg_pool");

}  // namespace
}  // namespace tessera::reference
