// The learning rate over a run, as a factor of the base rate. One schedule per file in schedules/.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/options.h"
#include "common/registry.h"

namespace tessera {

// The run a schedule spreads over; steps are rounds of all replicas.
struct ScheduleContext {
  double total_steps = 0;
  double steps_per_epoch = 0;
};

// Immutable; from any thread. Only exactly rounded double arithmetic (see common/exact_math.h for cosine), so
// that every server computes the same learning rate.
class Schedule {
 public:
  virtual ~Schedule() = default;
  // Factor at `progress` steps (samples applied to the shard before this update / (replicas x batch_size));
  // in [0, 1].
  virtual double Factor(double progress) const = 0;
};

// Factories take the job's `train.schedule` options but `name` and must Finish() them; `warmup` is read
// already.
using ScheduleRegistry = Registry<Schedule, Options, ScheduleContext>;

// Schedule `name` under a linear warm-up: the factor is multiplied by min(1, (progress + 1) / warmup steps).
// `options` are those of `train.schedule` but `name`; `warmup` is "100 steps", "1 epoch" or absent.
// Errors: kInvalidArgument, an unknown name or option.
absl::StatusOr<std::unique_ptr<Schedule>> CreateSchedule(const std::string& name, Options options,
                                                         const ScheduleContext& context);

}  // namespace tessera
