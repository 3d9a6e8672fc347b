// Drops elements at random in training, and scales the others so that their expectation stays:
//   y = x * mask / (1-p), dx = dy * mask / (1-p); an element of the mask is 0 with probability p, and else 1.
// In evaluation y = x. x, y: any one shape. The mask is a pure function of (seed, replica, clock, the layer's
// name, element): nn::DropoutMask.
// Options: p = 0.5, in [0, 1).
// Source: Srivastava et al. 2014, "Dropout"; torch.nn.Dropout (which also takes p = 1).
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class Dropout final : public Layer {
 public:
  // Errors: kInvalidArgument, an option unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "dropout"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  // What survives is multiplied by it.
  double scale() const { return 1 / (1 - p); }

  const double p;

 private:
  explicit Dropout(double p) : p(p) {}
};

}  // namespace tessera::nn
