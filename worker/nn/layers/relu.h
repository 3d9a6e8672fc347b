// Rectifier: y = max(x, 0), elementwise. x, y: any shape. The gradient at x = 0 is 0, as in PyTorch.
// Source: Nair & Hinton 2010.
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class Relu final : public Layer {
 public:
  // Errors: kInvalidArgument, any option.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "relu"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

 private:
  Relu() = default;
};

}  // namespace tessera::nn
