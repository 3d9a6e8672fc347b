#include "worker/nn/layers/conv2d.h"

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

template <typename T>
class Conv2dOp final : public LayerOp<T, nn::Conv2d> {
 public:
  using LayerOp<T, nn::Conv2d>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<T> y(a.output, this->output());
    const Images<const T> weight(a.weights, WeightImage());
    const absl::Span<const T> bias = a.weights.subspan(WeightSize());
    for (int64_t n = 0; n < a.batch; ++n) {
      for (int64_t o = 0; o < y.channels(); ++o) {
        for (int64_t i = 0; i < y.height(); ++i) {
          for (int64_t j = 0; j < y.width(); ++j) {
            double sum = bias.empty() ? 0.0 : bias[o];
            ForEachTap(x, i, j, [&](int64_t c, int64_t u, int64_t v, int64_t row, int64_t column) {
              sum += static_cast<double>(weight(o, c, u, v)) * x(n, FirstChannel(o) + c, row, column);
            });
            y(n, o, i, j) = static_cast<T>(sum);
          }
        }
      }
    }
  }

  void Backward(const BackwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<const T> dy(a.output_gradient, this->output());
    const Images<const T> weight(a.weights, WeightImage());
    const bool wants_input = !a.input_gradients[0].empty();
    std::vector<double> dx(wants_input ? a.inputs[0].size() : 0, 0.0);
    std::vector<double> dw(a.weights.size(), 0.0);
    const Images<double> dx_view(absl::MakeSpan(dx), this->input());
    const Images<double> dw_view(absl::MakeSpan(dw), WeightImage());
    for (int64_t n = 0; n < a.batch; ++n) {
      for (int64_t o = 0; o < dy.channels(); ++o) {
        for (int64_t i = 0; i < dy.height(); ++i) {
          for (int64_t j = 0; j < dy.width(); ++j) {
            const double g = dy(n, o, i, j);
            if (this->layer().bias) dw[WeightSize() + o] += g;
            ForEachTap(x, i, j, [&](int64_t c, int64_t u, int64_t v, int64_t row, int64_t column) {
              const int64_t channel = FirstChannel(o) + c;
              dw_view(o, c, u, v) += g * x(n, channel, row, column);
              if (wants_input) dx_view(n, channel, row, column) += g * weight(o, c, u, v);
            });
          }
        }
      }
    }
    for (size_t k = 0; k < dw.size(); ++k) a.weight_gradients[k] = static_cast<T>(dw[k]);
    for (size_t k = 0; k < dx.size(); ++k) a.input_gradients[0][k] = static_cast<T>(dx[k]);
  }

 private:
  int64_t GroupChannels() const { return this->input()[0] / this->layer().groups; }
  Shape WeightImage() const { return {GroupChannels(), this->layer().kernel_h, this->layer().kernel_w}; }
  size_t WeightSize() const {
    return static_cast<size_t>(this->layer().out_channels * NumElements(WeightImage()));
  }

  // The first input channel of the group of output channel `o`.
  int64_t FirstChannel(int64_t o) const {
    return o / (this->layer().out_channels / this->layer().groups) * GroupChannels();
  }

  // Calls visit(c, u, v, row, column) for every weight (c,u,v) of the window at output (i,j) and the input
  // position that it meets, where that lies inside the image.
  template <typename Visit>
  void ForEachTap(const Images<const T>& x, int64_t i, int64_t j, const Visit& visit) const {
    const nn::Conv2d& layer = this->layer();
    for (int64_t c = 0; c < GroupChannels(); ++c) {
      for (int64_t u = 0; u < layer.kernel_h; ++u) {
        for (int64_t v = 0; v < layer.kernel_w; ++v) {
          const int64_t row = i * layer.stride + u * layer.dilation - layer.padding;
          const int64_t column = j * layer.stride + v * layer.dilation - layer.padding;
          if (x.Inside(row, column)) visit(c, u, v, row, column);
        }
      }
    }
  }
};

const RegisterOp<Conv2dOp> kEntry("conv2d");

}  // namespace
}  // namespace tessera::reference
