// Elementwise sum of two or more inputs of one shape, added from the first to the last: the end of a residual
// block. x0, x1, ..., y: any one shape. No broadcasting. Source: He et al. 2016, "Deep Residual Learning for
// Image Recognition", equation 1.
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class Add final : public Layer {
 public:
  // Errors: kInvalidArgument, any option.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "add"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

 private:
  Add() = default;
};

}  // namespace tessera::nn
