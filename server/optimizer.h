// The rule by which one update changes a shard: a pure, elementwise formula. State ("slots") is owned by the
// parameter store, so that it is replicated and checkpointed with the weights. One rule per file in
// optimizers/.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/options.h"
#include "common/registry.h"

namespace tessera {

// What an update knows besides the numbers.
struct UpdateContext {
  double learning_rate = 0;  // final: schedule, warm-up and linear scaling applied
  int64_t update = 1;        // 1-based count of this shard's updates
};

// Immutable after Create; one object serves all shards, from any thread.
// Float32 arithmetic in the order written, no contraction: the same bits on every machine.
class Optimizer {
 public:
  virtual ~Optimizer() = default;

  // Base learning rate, before the schedule.
  virtual double base_learning_rate() const = 0;
  // Names of the state tensors, each as long as the shard and zero at the start.
  virtual std::vector<std::string> slot_names() const = 0;
  // new_weights = rule(weights, gradient, slots); slots change in place. All spans equally long; `gradient`
  // is the mean over the round. `new_weights` does not alias the others.
  virtual void Apply(const UpdateContext& context, absl::Span<const float> weights,
                     absl::Span<const float> gradient, absl::Span<const absl::Span<float>> slots,
                     absl::Span<float> new_weights) const = 0;
};

// Factories take the job's `train.optimizer` options (all but `name`) and must Finish() them.
using OptimizerRegistry = Registry<Optimizer, Options>;

}  // namespace tessera
