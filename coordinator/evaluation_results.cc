#include "coordinator/evaluation_results.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

absl::Status CheckChunk(const ChunkResult& chunk, int64_t test_samples) {
  if (chunk.chunk < 0 || chunk.samples < 1 || chunk.samples > test_samples || chunk.correct < 0 ||
      chunk.correct > chunk.samples) {
    return absl::InvalidArgumentError(absl::StrCat("evaluation chunk ", chunk.chunk, " of ", chunk.samples,
                                                   " samples, ", chunk.correct,
                                                   " of them right, in a test set of ", test_samples));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> EvaluationResults::Record(Clock clock, absl::Span<const ChunkResult> chunks) {
  const auto found = by_clock_.find(clock);
  Evaluation evaluation = found == by_clock_.end() ? Evaluation{} : found->second;
  for (const ChunkResult& chunk : chunks) {
    TESSERA_RETURN_IF_ERROR(CheckChunk(chunk, test_samples_));
    if (!evaluation.chunks.emplace(chunk.chunk, chunk).second) continue;
    evaluation.samples += chunk.samples;
    if (evaluation.samples > test_samples_) {
      return absl::InvalidArgumentError(absl::StrCat("evaluation at clock ", clock, " counts ",
                                                     evaluation.samples, " samples, the test set has ",
                                                     test_samples_));
    }
  }
  const size_t known = found == by_clock_.end() ? 0 : found->second.chunks.size();
  const bool is_news = evaluation.chunks.size() > known;
  by_clock_[clock] = std::move(evaluation);
  return is_news;
}

std::optional<EvaluationSummary> EvaluationResults::At(Clock clock) const {
  const auto found = by_clock_.find(clock);
  if (found == by_clock_.end() || found->second.samples != test_samples_) return std::nullopt;
  double loss_sum = 0;
  int64_t correct = 0;
  for (const auto& [index, chunk] : found->second.chunks) {
    loss_sum += chunk.loss_sum;
    correct += chunk.correct;
  }
  const auto samples = static_cast<double>(test_samples_);
  return EvaluationSummary{loss_sum / samples, static_cast<double>(correct) / samples};
}

std::map<Clock, std::vector<ChunkResult>> EvaluationResults::Chunks() const {
  std::map<Clock, std::vector<ChunkResult>> chunks;
  for (const auto& [clock, evaluation] : by_clock_) {
    for (const auto& [index, chunk] : evaluation.chunks) chunks[clock].push_back(chunk);
  }
  return chunks;
}

}  // namespace tessera
