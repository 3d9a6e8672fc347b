#include "worker/nn/layers/avg_pool.h"

#include <algorithm>

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

template <typename T>
class AvgPoolOp final : public LayerOp<T, nn::AvgPool> {
 public:
  using LayerOp<T, nn::AvgPool>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<T> y(a.output, this->output());
    ForEachOutput(a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      double sum = 0;
      const double count = ForEachInside(x, i, j, [&](int64_t h, int64_t w) { sum += x(n, c, h, w); });
      y(n, c, i, j) = static_cast<T>(sum / count);
    });
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    const Images<const T> dy(a.output_gradient, this->output());
    const Images<T> dx(a.input_gradients[0], this->input());
    std::fill(a.input_gradients[0].begin(), a.input_gradients[0].end(), T{0});
    ForEachOutput(a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      const double count = ForEachInside(dx, i, j, [](int64_t, int64_t) {});
      ForEachInside(dx, i, j,
                    [&](int64_t h, int64_t w) { dx(n, c, h, w) += static_cast<T>(dy(n, c, i, j) / count); });
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

  // Calls visit(row, column) for every position of the window at output (i,j) that lies inside the image.
  // Returns what the sum over the window is divided by.
  template <typename Image, typename Visit>
  double ForEachInside(const Image& image, int64_t i, int64_t j, const Visit& visit) const {
    const nn::AvgPool& layer = this->layer();
    const int64_t top = i * layer.stride - layer.padding, left = j * layer.stride - layer.padding;
    double inside = 0;
    for (int64_t row = top; row < top + layer.kernel; ++row) {
      for (int64_t column = left; column < left + layer.kernel; ++column) {
        if (!image.Inside(row, column)) continue;
        visit(row, column);
        ++inside;
      }
    }
    return layer.count_include_pad ? static_cast<double>(layer.kernel * layer.kernel) : inside;
  }
};

const RegisterOp<AvgPoolOp> kEntry("avg_pool");

}  // namespace
}  // namespace tessera::reference
