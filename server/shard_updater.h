// What a complete round does to one shard: the mean, the staleness correction, then the optimizers over their
// elements. Owns the optimizer's state ("slots"), but no weights: a version goes in, the next comes out.
// Which pushes make the round is decided before (ConsistencyPolicy, ReductionTree). Not thread-safe; the
// shard's lock guards it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/shard_layout.h"
#include "common/tensor_buffer.h"
#include "common/types.h"
#include "server/round_sum.h"
#include "server/update_rule.h"

namespace tessera {

// Elements of a shard that one optimizer updates.
struct UpdateRange {
  size_t offset = 0;
  size_t length = 0;
  bool undecayed = false;  // parameters of one dimension: biases, weights of normalisations
  friend bool operator==(const UpdateRange&, const UpdateRange&) = default;
};

// The ranges of `shard`, in order and together all of it; neighbours differ in their rule.
std::vector<UpdateRange> UpdateRanges(const ShardLayout& layout, ShardId shard);

class ShardUpdater {
 public:
  // What an update knows besides the numbers.
  struct Round {
    int64_t update = 1;                   // 1-based count of the shard's updates
    double progress = 0;                  // steps before this one, for the schedule
    absl::Span<const int64_t> staleness;  // of each replica in the sum, in versions
    const TensorBuffer* read =
        nullptr;  // the weights it was computed on, where they are to be compensated for
  };

  // `ranges` make up a shard of `length` elements.
  ShardUpdater(UpdateRule rule, size_t length, std::vector<UpdateRange> ranges);

  // next = rule(weights, the mean of `sum` over the round's replicas), in one pass over memory: piece by
  // piece, each small enough for the first cache, the sum is added up, divided, corrected and applied. `sum`
  // has all its elements still to be read. All spans have the shard's length; `next` aliases none. `final`,
  // if not empty, gets what the optimizers saw: the corrected mean.
  void Apply(const Round& round, absl::Span<const float> weights, RoundSum sum, absl::Span<float> next,
             absl::Span<float> final = {});
  // The rate that Apply(round, ...) gives the optimizers.
  double LearningRate(const Round& round) const {
    return rule_.LearningRate(round.progress, round.staleness);
  }

  // What Apply did elsewhere, to the last bit: `final` is what it handed out. With adaptive delay
  // compensation only the weights and the optimizer's slots are.
  void Repeat(const UpdateContext& context, absl::Span<const float> weights, RoundSum final,
              absl::Span<float> next);

  // Copies of all that it remembers between rounds: the optimizer's slots by their names, in its order, and
  // then, of adaptive delay compensation, "mean_square".
  std::vector<ShardSnapshot::Slot> Slots() const;
  // Goes on with what Slots() gave, in any order; the values are copied.
  // Errors (nothing changed): kInvalidArgument, a slot that is missing, unknown, named twice, without values
  // or of another length.
  absl::Status SetSlots(absl::Span<const ShardSnapshot::Slot> slots);

  const UpdateRule& rule() const { return rule_; }
  size_t length() const { return length_; }

 private:
  // The optimizers, piece by piece: `gradient_of(offset, length)` gives the next elements' corrected mean.
  template <typename GradientOf>
  void ApplyPieces(const UpdateContext& context, absl::Span<const float> weights, absl::Span<float> next,
                   GradientOf gradient_of);
  // The elements from `offset` on, as many as `gradient` has.
  void Compensate(const Round& round, absl::Span<const float> weights, size_t offset,
                  absl::Span<float> gradient);

  struct NamedState {
    std::string name;
    TensorBuffer* values;
  };
  // All state, in the order of Slots().
  std::vector<NamedState> States() const;

  UpdateRule rule_;
  size_t length_;
  std::vector<UpdateRange> ranges_;
  std::vector<std::unique_ptr<TensorBuffer>> slots_;  // in the order of the optimizer's slots()
  std::unique_ptr<TensorBuffer> mean_square_;         // of adaptive delay compensation, else null
};

}  // namespace tessera
