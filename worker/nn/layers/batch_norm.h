// Batch normalisation per channel c, over the M = N*H*W elements of the channel:
//   training:   y = weight[c] * (x - mean[c]) / sqrt(var[c] + eps) + bias[c], mean and *biased* variance of
//   the batch; evaluation: the same with running_mean[c] and running_var[c].
// x, y: [N,C,H,W].
// Parameters: weight [C] (starts at 1), bias [C] (0); statistics running_mean [C] (0), running_var [C] (1).
// What a training step gives as the statistics' gradient is the batch mean and the *unbiased* variance, var *
// M/(M-1) (M = 1: the biased one, which is 0); the server moves the running values with its own momentum.
// Options: eps = 1e-5.
// Source: Ioffe & Szegedy 2015, Algorithm 1; variances as PyTorch's torch.nn.BatchNorm2d.
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class BatchNorm final : public Layer {
 public:
  // Errors: kInvalidArgument, an option unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "batch_norm"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  const double eps;

 private:
  explicit BatchNorm(double eps) : eps(eps) {}
};

}  // namespace tessera::nn
