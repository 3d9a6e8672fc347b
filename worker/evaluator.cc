#include "worker/evaluator.h"

#include <algorithm>
#include <numeric>

#include "common/status.h"

namespace tessera {

int32_t NumEvaluationChunks(uint32_t samples) {
  return static_cast<int32_t>((samples + kEvaluationChunk - 1) / kEvaluationChunk);
}

absl::StatusOr<EvaluationChunk> EvaluateChunk(nn::Executor* executor, nn::ParameterExchange* parameters,
                                              BatchLoader* loader, uint32_t samples, int32_t chunk) {
  const uint32_t begin = static_cast<uint32_t>(chunk) * kEvaluationChunk;
  std::vector<uint32_t> indices(std::min(kEvaluationChunk, samples - begin));
  std::iota(indices.begin(), indices.end(), begin);
  TESSERA_ASSIGN_OR_RETURN(const nn::EvaluationResult result,
                           executor->Evaluate(loader->Load(indices), parameters));
  return EvaluationChunk{chunk, static_cast<int64_t>(indices.size()), result.correct, result.loss_sum};
}

absl::StatusOr<EvaluationTotals> EvaluateAll(nn::Executor* executor, nn::ParameterExchange* parameters,
                                             BatchLoader* loader, uint32_t samples) {
  std::vector<EvaluationChunk> chunks;
  for (int32_t chunk = 0; chunk < NumEvaluationChunks(samples); ++chunk) {
    TESSERA_ASSIGN_OR_RETURN(chunks.emplace_back(),
                             EvaluateChunk(executor, parameters, loader, samples, chunk));
  }
  return SumChunks(chunks);
}

EvaluationTotals SumChunks(absl::Span<const EvaluationChunk> chunks) {
  EvaluationTotals totals;
  for (const EvaluationChunk& chunk : chunks) {
    totals.samples += chunk.samples;
    totals.correct += chunk.correct;
    totals.loss_sum += chunk.loss_sum;
  }
  return totals;
}

}  // namespace tessera
