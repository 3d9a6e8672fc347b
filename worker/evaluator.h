// Evaluation in fixed chunks of the test set, so that its result does not depend on who computes which:
// counts are integers, and losses are summed in float64 in the order of the chunks.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/data/batch_loader.h"
#include "worker/nn/executor.h"

namespace tessera {

inline constexpr uint32_t kEvaluationChunk = 250;  // samples; the last chunk may be shorter

struct EvaluationChunk {
  int32_t chunk = 0;
  int64_t samples = 0;
  int64_t correct = 0;
  double loss_sum = 0;
};

struct EvaluationTotals {
  int64_t samples = 0;
  int64_t correct = 0;
  double loss_sum = 0;
  double accuracy() const {
    return samples == 0 ? 0 : static_cast<double>(correct) / static_cast<double>(samples);
  }
  double loss() const { return samples == 0 ? 0 : loss_sum / static_cast<double>(samples); }
};

// Chunks that `samples` make.
int32_t NumEvaluationChunks(uint32_t samples);

// Evaluates one chunk with the weights of `parameters`. Errors: those of the executor.
absl::StatusOr<EvaluationChunk> EvaluateChunk(nn::Executor* executor, nn::ParameterExchange* parameters,
                                              BatchLoader* loader, uint32_t samples, int32_t chunk);

// Evaluates all chunks in order: what `tessera eval` does with the whole test set.
absl::StatusOr<EvaluationTotals> EvaluateAll(nn::Executor* executor, nn::ParameterExchange* parameters,
                                             BatchLoader* loader, uint32_t samples);

// `chunks` sorted by index; adds them in that order.
EvaluationTotals SumChunks(absl::Span<const EvaluationChunk> chunks);

}  // namespace tessera
