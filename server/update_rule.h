// How one round changes a shard: the optimizers, and the learning rate that they get.
#pragma once

#include <memory>

#include "absl/types/span.h"
#include "server/optimizer.h"
#include "server/schedule.h"
#include "server/staleness_correction.h"

namespace tessera {

// Immutable; shared by all shards of a kind, from any thread.
struct UpdateRule {
  std::shared_ptr<const Optimizer> optimizer;
  std::shared_ptr<const Optimizer> undecayed;  // of parameters of one dimension; null: `optimizer` too
  std::shared_ptr<const Schedule> schedule;    // null: the base rate throughout
  double rate_scale = 1;                       // group / replicas under linear scaling (DESIGN.md section 4)
  StalenessCorrection correction;

  // base rate x schedule x scale, for an update after `progress` steps by gradients of these stalenesses (one
  // for each replica in its mean).
  double LearningRate(double progress, absl::Span<const int64_t> staleness) const {
    const double factor = schedule == nullptr ? 1 : schedule->Factor(progress);
    const bool by_staleness = correction.kind == StalenessCorrection::Kind::kScale;
    const double scale = by_staleness ? StalenessScale(staleness) : rate_scale;
    return optimizer->base_learning_rate() * factor * scale;
  }
};

}  // namespace tessera
