#include "coordinator/rule_check.h"

#include "common/status.h"
#include "server/optimizer.h"
#include "server/schedule.h"

namespace tessera {

absl::Status CheckUpdateRule(const JobPlan& plan) {
  const NamedOptions& optimizer = plan.job.train.optimizer;
  TESSERA_RETURN_IF_ERROR(
      AtPosition(optimizer.where, CreateOptimizers(optimizer.name, optimizer.options).status()));
  const ScheduleContext context{.total_steps = static_cast<double>(plan.total_steps),
                                .steps_per_epoch = static_cast<double>(plan.steps_per_epoch)};
  const NamedOptions& schedule = plan.job.train.schedule;
  return AtPosition(schedule.where, CreateSchedule(schedule.name, schedule.options, context).status());
}

}  // namespace tessera
