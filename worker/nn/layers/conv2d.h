// Cross-correlation with trained filters:
//   y[n,o,i,j] = bias[o] + sum over c,u,v of weight[o,c,u,v] * x[n,c,i*stride+u-padding,j*stride+v-padding]
// where x is zero outside the image. x: [N,C,H,W]; y: [N,out_channels,H',W'] with
//   H' = floor((H + 2*padding - kernel_h) / stride) + 1, and W' likewise.
// Parameters: weight [out_channels,C,kernel_h,kernel_w] (OIHW), bias [out_channels] unless `bias` is false.
// Options: out_channels (required), kernel (required), stride = 1, padding = 0, bias = true, init = default |
// kaiming.
//   default: weight and bias uniform in +-1/sqrt(fan_in), fan_in = C*kernel_h*kernel_w (PyTorch's Conv2d);
//   kaiming: weight uniform in +-sqrt(6/fan_out), fan_out = out_channels*kernel_h*kernel_w, bias 0. That is
//   the variance 2/fan_out of He et al.'s residual networks; uniform, since only exactly rounded operations
//   may make initial weights.
// Source: PyTorch's torch.nn.Conv2d; He et al. 2015, "Delving Deep into Rectifiers", section 2.2.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class Conv2d final : public Layer {
 public:
  enum class Init { kDefault, kKaiming };
  struct Attributes {
    int64_t out_channels = 0;
    int64_t kernel_h = 0, kernel_w = 0;
    int64_t stride = 1;
    int64_t padding = 0;
    bool bias = true;
    Init init = Init::kDefault;
  };

  // Errors: kInvalidArgument, an option missing, unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "conv2d"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  const int64_t out_channels;
  const int64_t kernel_h, kernel_w;
  const int64_t stride;
  const int64_t padding;  // zeros on each of the four sides
  const bool bias;
  const Init init;

 private:
  explicit Conv2d(const Attributes& attributes);
};

}  // namespace tessera::nn
