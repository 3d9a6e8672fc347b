// Puts its inputs behind each other: images along the channels, rows along the features.
//   y[n,o,...] = xk[n,o-first(k),...], where first(k) is the sum of the channels of the inputs before xk and
//   k the last input with first(k) <= o.
// x0, x1, ...: [N,Ck,H,W] of one H and W, or [N,Fk]; y: [N,C0+C1+...,H,W] or [N,F0+F1+...]. No options.
// Source: torch.cat with dim = 1; Szegedy et al. 2015, "Going Deeper with Convolutions" (depth
// concatenation).
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class Concat final : public Layer {
 public:
  // Errors: kInvalidArgument, any option.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "concat"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

 private:
  Concat() = default;
};

}  // namespace tessera::nn
