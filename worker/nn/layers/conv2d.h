// Cross-correlation with trained filters:
//   y[n,o,i,j] = bias[o] + sum over c,u,v of weight[o,c,u,v] *
//                x[n, first(o)+c, i*stride + u*dilation - padding, j*stride + v*dilation - padding]
// where x is zero outside the image, and c runs over the C/groups channels of o's group, of which the first
// is first(o) = floor(o / (out_channels/groups)) * C/groups. x: [N,C,H,W]; y: [N,out_channels,H',W'] with
//   H' = floor((H + 2*padding - dilation*(kernel_h-1) - 1) / stride) + 1, and W' likewise.
// Parameters: weight [out_channels,C/groups,kernel_h,kernel_w] (OIHW), bias [out_channels] unless `bias` is
// false.
// Options: out_channels (required), kernel (required; one number, or a list of height and width), stride = 1,
// padding = 0, dilation = 1, groups = 1 (divides both numbers of channels; as many as input channels: a
// depthwise convolution), bias = true, init = default | kaiming.
//   default: weight and bias uniform in +-1/sqrt(fan_in), fan_in = C/groups*kernel_h*kernel_w (PyTorch's
//   Conv2d);
//   kaiming: weight uniform in +-sqrt(6/fan_out), fan_out = out_channels*kernel_h*kernel_w, bias 0. That is
//   the variance 2/fan_out of He et al.'s residual networks; uniform, since only exactly rounded operations
//   may make initial weights. As in PyTorch, fan_out counts the outputs of all groups.
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
    int64_t dilation = 1;
    int64_t groups = 1;
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
  const int64_t padding;   // zeros on each of the four sides
  const int64_t dilation;  // distance of neighbours in the window
  const int64_t groups;
  const bool bias;
  const Init init;

 private:
  explicit Conv2d(const Attributes& attributes);
};

}  // namespace tessera::nn
