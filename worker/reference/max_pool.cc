#include "worker/nn/layers/max_pool.h"

#include <algorithm>
#include <cmath>

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

struct Position {
  int64_t row = 0, column = 0;
};

template <typename T>
class MaxPoolOp final : public LayerOp<T, nn::MaxPool> {
 public:
  using LayerOp<T, nn::MaxPool>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<T> y(a.output, this->output());
    ForEachWindow(x, a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j, const Position& max) {
      y(n, c, i, j) = x(n, c, max.row, max.column);
    });
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    const Images<const T> x(a.inputs[0], this->input());
    const Images<const T> dy(a.output_gradient, this->output());
    const Images<T> dx(a.input_gradients[0], this->input());
    std::fill(a.input_gradients[0].begin(), a.input_gradients[0].end(), T{0});
    ForEachWindow(x, a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j, const Position& max) {
      dx(n, c, max.row, max.column) += dy(n, c, i, j);
    });
  }

 private:
  // Calls visit(n, c, i, j, where the window's maximum is) for every element of the output.
  template <typename Visit>
  void ForEachWindow(const Images<const T>& x, int64_t batch, const Visit& visit) const {
    const Shape& output = this->output();
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t c = 0; c < output[0]; ++c) {
        for (int64_t i = 0; i < output[1]; ++i) {
          for (int64_t j = 0; j < output[2]; ++j) visit(n, c, i, j, Maximum(x, n, c, i, j));
        }
      }
    }
  }

  // The first maximum in row-major order; a NaN wins, so that it is not hidden.
  Position Maximum(const Images<const T>& x, int64_t n, int64_t c, int64_t i, int64_t j) const {
    const nn::MaxPool& layer = this->layer();
    const int64_t top = i * layer.stride - layer.padding, left = j * layer.stride - layer.padding;
    Position best{std::max<int64_t>(top, 0), std::max<int64_t>(left, 0)};
    for (int64_t row = top; row < top + layer.kernel; ++row) {
      for (int64_t column = left; column < left + layer.kernel; ++column) {
        if (!x.Inside(row, column)) continue;
        const T value = x(n, c, row, column);
        if (value > x(n, c, best.row, best.column) || std::isnan(value)) best = {row, column};
      }
    }
    return best;
  }
};

const RegisterOp<MaxPoolOp> kEntry("max_pool");

}  // namespace
}  // namespace tessera::reference
