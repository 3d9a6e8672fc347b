// Parameter-free shortcut of a residual block that changes shape: subsampling, and channels of zeros.
//   y[n,o,i,j] = x[n,o-before,i*stride,j*stride] where 0 <= o-before < C, and 0 elsewhere;
//   before = (out_channels - C) / 2, rounded down.
// x: [N,C,H,W]; y: [N,out_channels,ceil(H/stride),ceil(W/stride)].
// Options: out_channels (required, at least C), stride = 2.
// Source: He et al. 2016, section 3.3, option A. The paper does not say where the new channels lie; half
// before and half after is the choice of Y. Idelbayev's pytorch_resnet_cifar10, which we share weights with.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class ShortcutA final : public Layer {
 public:
  // Errors: kInvalidArgument, an option missing, unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "shortcut_a"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  // How many channels of zeros come first when the input has `in_channels`.
  int64_t ChannelsBefore(int64_t in_channels) const { return (out_channels - in_channels) / 2; }

  const int64_t out_channels;
  const int64_t stride;

 private:
  ShortcutA(int64_t out_channels, int64_t stride) : out_channels(out_channels), stride(stride) {}
};

}  // namespace tessera::nn
