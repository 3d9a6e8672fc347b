// Reads a sample as one row: [N,C,H,W] -> [N,C*H*W], in memory order. [N,F] stays as it is.
// Source: PyTorch's torch.nn.Flatten.
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class Flatten final : public Layer {
 public:
  // Errors: kInvalidArgument, any option.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "flatten"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

 private:
  Flatten() = default;
};

}  // namespace tessera::nn
