// The rule by which one update changes a shard: a pure, elementwise formula. State ("slots") is owned by the
// parameter store, so that it is replicated and checkpointed with the weights. One rule per file in
// optimizers/; CreateOptimizers makes the rules of a job.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/options.h"
#include "common/registry.h"

namespace tessera {

// What an update knows besides the numbers.
struct UpdateContext {
  double learning_rate = 0;  // final: schedule, warm-up and linear scaling applied
  int64_t update = 1;        // 1-based count of this shard's updates
};

// A state tensor, as long as the shard.
struct OptimizerSlot {
  std::string name;   // PyTorch's: "momentum_buffer", "exp_avg"
  float initial = 0;  // of every element before the first update
};

// Immutable after Create; one object serves all shards, from any thread.
// Float32 arithmetic in the order written, no contraction: the same bits on every machine.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Base learning rate, before the schedule.
  virtual double base_learning_rate() const = 0;
  // 0 for a rule that has none.
  virtual double weight_decay() const { return 0; }
  // Depends on the options, never on learning rate and weight decay.
  virtual std::vector<OptimizerSlot> slots() const = 0;
  // new_weights = rule(weights, gradient, slots); slots change in place and are in the order of slots(). All
  // spans equally long, a shard or any part of one; `gradient` is the mean over the round. `new_weights` does
  // not alias the others.
  virtual void Apply(const UpdateContext& context, absl::Span<const float> weights,
                     absl::Span<const float> gradient, absl::Span<const absl::Span<float>> slots,
                     absl::Span<float> new_weights) const = 0;
};

// Factories take the job's `train.optimizer` options (all but `name` and those of CreateOptimizers) and must
// Finish() them.
using OptimizerRegistry = Registry<Optimizer, Options>;

// One rule with weight decay and without, for the two kinds of parameters. Equal but for the decay: the same
// slots and base learning rate.
struct OptimizerPair {
  std::shared_ptr<const Optimizer> all;        // never null
  std::shared_ptr<const Optimizer> undecayed;  // for parameters of one dimension; null: they have `all` too
};

// Optimizer `name` of a job. `options` are those of `train.optimizer` but `name`; beside the rule's own:
//   decay_bias_and_norm = true (as PyTorch); false exempts parameters of one dimension, which are biases and
//   the weights of normalisations, from weight_decay. Source: He et al. 2019 (Bag of Tricks), section 3.1.
// Errors: kInvalidArgument with position, an unknown name or option, a value out of range.
absl::StatusOr<OptimizerPair> CreateOptimizers(const std::string& name, Options options);

}  // namespace tessera
