// Mean over windows: y[n,c,i,j] = (sum over u,v of x[n,c,i*stride+u-padding,j*stride+v-padding]) / count
// where x is zero outside the image. x: [N,C,H,W]; y: [N,C,H',W'] with
//   H' = floor((H + 2*padding - kernel) / stride) + 1, and W' likewise.
// count = kernel^2; without `count_include_pad` the positions of the window inside the image.
// Options: kernel (required), stride = kernel, padding = 0 (at most kernel/2), count_include_pad = true.
// Source: PyTorch's torch.nn.AvgPool2d.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class AvgPool final : public Layer {
 public:
  // Errors: kInvalidArgument, an option missing, unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "avg_pool"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  const int64_t kernel;
  const int64_t stride;
  const int64_t padding;  // zeros on each of the four sides
  const bool count_include_pad;

 private:
  AvgPool(int64_t kernel, int64_t stride, int64_t padding, bool count_include_pad)
      : kernel(kernel), stride(stride), padding(padding), count_include_pad(count_include_pad) {}
};

}  // namespace tessera::nn
