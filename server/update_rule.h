// How one round changes a shard: the optimizer, and the learning rate that it gets.
#pragma once

#include <memory>

#include "server/optimizer.h"
#include "server/schedule.h"

namespace tessera {

// Immutable; shared by all shards of a kind, from any thread.
struct UpdateRule {
  std::shared_ptr<const Optimizer> optimizer;
  std::shared_ptr<const Schedule> schedule;  // null: the base rate throughout
  double rate_scale = 1;                     // group / replicas under linear scaling (DESIGN.md section 4)

  // base rate x schedule x scale, for an update after `progress` steps.
  double LearningRate(double progress) const {
    const double factor = schedule == nullptr ? 1 : schedule->Factor(progress);
    return optimizer->base_learning_rate() * factor * rate_scale;
  }
};

}  // namespace tessera
