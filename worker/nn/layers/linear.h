// Fully connected layer: y[n,o] = bias[o] + sum over i of weight[o,i] * x[n,i].
// x: [N,F]; y: [N,out_features]. An image must be flattened first, as in PyTorch (layer `flatten`).
// Parameters: weight [out_features,F], bias [out_features] unless `bias` is false; both start uniform in
// +-1/sqrt(F) (PyTorch's Linear); with `init_std`, the weight starts uniform with that standard deviation, in
// +-sqrt(3)*init_std, and the bias 0.
// Options: out_features (required), bias = true, init_std = 0 (PyTorch's own).
// Source: PyTorch's torch.nn.Linear.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class Linear final : public Layer {
 public:
  // Errors: kInvalidArgument, an option missing, unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "linear"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  const int64_t out_features;
  const bool bias;
  const double init_std;

 private:
  Linear(int64_t out_features, bool bias, double init_std)
      : out_features(out_features), bias(bias), init_std(init_std) {}
};

}  // namespace tessera::nn
