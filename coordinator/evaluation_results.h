// Evaluation by chunks: counts and losses from many workers become one result per clock, whoever measured
// what and in whatever order it came. A pure state machine; not thread-safe. Counts are integers and losses
// are summed in float64 in order of chunk, so the result is the same to the last bit.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/types.h"

namespace tessera {

struct ChunkResult {
  int32_t chunk = 0;
  int64_t samples = 0;
  int64_t correct = 0;
  double loss_sum = 0;  // over the samples
};

struct EvaluationSummary {
  double loss = 0;      // mean over the test samples
  double accuracy = 0;  // 0..1
};

class EvaluationResults {
 public:
  // test_samples 0: nothing to evaluate.
  explicit EvaluationResults(int64_t test_samples) : test_samples_(test_samples) {}

  // Takes results measured at `clock`; of each chunk the first counts. All or nothing. Returns whether there
  // was one that was not known. Errors: kInvalidArgument, a negative number, an empty chunk, more right ones
  // than samples, more samples than the test set has.
  absl::StatusOr<bool> Record(Clock clock, absl::Span<const ChunkResult> chunks);

  // Set once every test sample has been counted at `clock`.
  std::optional<EvaluationSummary> At(Clock clock) const;

  // Forgets what was measured after `clock`.
  void DropAfter(Clock clock) { by_clock_.erase(by_clock_.upper_bound(clock), by_clock_.end()); }

  // Everything taken so far, by clock, in order of chunk.
  std::map<Clock, std::vector<ChunkResult>> Chunks() const;

 private:
  struct Evaluation {
    std::map<int32_t, ChunkResult> chunks;
    int64_t samples = 0;
  };

  const int64_t test_samples_;
  std::map<Clock, Evaluation> by_clock_;
};

}  // namespace tessera
