// Means over as many windows as the output has pixels, whatever the size of the input:
//   y[n,c,i,j] = mean of x[n,c,h,w] over floor(i*H/H') <= h < ceil((i+1)*H/H'), and w likewise.
// x: [N,C,H,W]; y: [N,C,H',W']. Windows overlap where H' does not divide H; an output larger than its input
// repeats pixels; sizes that are equal leave x as it is.
// Options: output (required): H' and W' as one number, or a list of the two.
// Source: torch.nn.AdaptiveAvgPool2d.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/nn/layer.h"
#include "worker/nn/size_pair.h"

namespace tessera::nn {

class AdaptiveAvgPool final : public Layer {
 public:
  // Errors: kInvalidArgument, an option missing, unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "adaptive_avg_pool"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  // The window of output `i` of `outputs` along a dimension of `inputs`: [begin, end).
  static int64_t WindowBegin(int64_t i, int64_t inputs, int64_t outputs) { return i * inputs / outputs; }
  static int64_t WindowEnd(int64_t i, int64_t inputs, int64_t outputs) {
    return ((i + 1) * inputs + outputs - 1) / outputs;
  }

  const SizePair output;

 private:
  explicit AdaptiveAvgPool(const SizePair& output) : output(output) {}
};

}  // namespace tessera::nn
