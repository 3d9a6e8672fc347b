// Mean of each channel: y[n,c] = (sum over i,j of x[n,c,i,j]) / (H*W). x: [N,C,H,W]; y: [N,C] (already flat).
// Source: Lin et al. 2014, "Network In Network", section 3.2.
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class GlobalAvgPool final : public Layer {
 public:
  // Errors: kInvalidArgument, any option.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "global_avg_pool"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

 private:
  GlobalAvgPool() = default;
};

}  // namespace tessera::nn
