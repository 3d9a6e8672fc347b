// Maximum over windows: y[n,c,i,j] = max over u,v of x[n,c,i*stride+u-padding,j*stride+v-padding]
// over the positions inside the image. x: [N,C,H,W]; y: [N,C,H',W'] with
//   H' = floor((H + 2*padding - kernel) / stride) + 1, and W' likewise;
// with `ceil_mode` ceil instead of floor, less windows that would start behind the image and its leading
// padding. The gradient goes to the first maximum of the window in row-major order. Options: kernel
// (required), stride = kernel, padding = 0 (at most kernel/2), ceil_mode = false. Source: PyTorch's
// torch.nn.MaxPool2d.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class MaxPool final : public Layer {
 public:
  // Errors: kInvalidArgument, an option missing, unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "max_pool"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  const int64_t kernel;
  const int64_t stride;
  const int64_t padding;  // on each of the four sides; never a maximum
  const bool ceil_mode;

 private:
  MaxPool(int64_t kernel, int64_t stride, int64_t padding, bool ceil_mode)
      : kernel(kernel), stride(stride), padding(padding), ceil_mode(ceil_mode) {}
};

}  // namespace tessera::nn
