#include "server/schedule.h"

#include <algorithm>
#include <utility>

#include "common/status.h"
#include "server/schedules/schedule_options.h"

namespace tessera {
namespace {

// Multiplies `schedule` by a ramp: min(1, (progress + 1) / steps). Source: Goyal et al. 2017, section 2.2
// ("gradual warmup"), from 1/steps so that the first step moves too.
class LinearWarmup : public Schedule {
 public:
  LinearWarmup(std::unique_ptr<const Schedule> schedule, double steps)
      : schedule_(std::move(schedule)), steps_(steps) {}

  double Factor(double progress) const override {
    return schedule_->Factor(progress) * std::min(1.0, (progress + 1) / steps_);
  }

 private:
  const std::unique_ptr<const Schedule> schedule_;
  const double steps_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Schedule>> CreateSchedule(const std::string& name, Options options,
                                                         const ScheduleContext& context) {
  TESSERA_ASSIGN_OR_RETURN(const double warmup, ReadSteps(options, "warmup", "0 steps", context));
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Schedule> schedule,
                           ScheduleRegistry::Create("schedule", name, std::move(options), context));
  if (warmup <= 1) return schedule;  // the ramp would be 1 from the first step on
  return std::make_unique<LinearWarmup>(std::move(schedule), warmup);
}

}  // namespace tessera
