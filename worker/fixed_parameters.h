// Weights from memory, for evaluation without servers.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/safetensors.h"
#include "worker/nn/executor.h"

namespace tessera {

// The blocks of a graph, filled from named tensors. Gradients are refused: this is for Evaluate alone.
class FixedParameters : public nn::ParameterExchange {
 public:
  // Errors: kInvalidArgument, a parameter that is missing, unexpected or of another shape (names it and both
  // shapes).
  static absl::StatusOr<FixedParameters> Create(const nn::Graph& graph, const NamedTensors& tensors);

  absl::StatusOr<absl::Span<const float>> Weights(int block) override;
  absl::Span<float> Gradient(int block) override;
  absl::Status GradientReady(int block) override;

 private:
  FixedParameters() = default;
  std::vector<std::vector<float>> blocks_;
};

}  // namespace tessera
