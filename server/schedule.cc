#include "server/schedule.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

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

// "100 steps" or "1 epoch", in steps.
absl::StatusOr<double> ParseSteps(const std::string& text, const ScheduleContext& context) {
  const std::vector<std::string> words = absl::StrSplit(text, ' ', absl::SkipWhitespace());
  double number = 0;
  const bool is_number = words.size() == 2 && absl::SimpleAtod(words[0], &number) && std::isfinite(number);
  if (is_number && number >= 0) {
    if (words[1] == "step" || words[1] == "steps") return number;
    if (words[1] == "epoch" || words[1] == "epochs") return number * context.steps_per_epoch;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("`warmup` must be a number of steps or epochs, as in `100 steps`, not `", text, "`"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Schedule>> CreateSchedule(const std::string& name, Options options,
                                                         const ScheduleContext& context) {
  TESSERA_ASSIGN_OR_RETURN(const std::string warmup, options.String("warmup", "0 steps"));
  const absl::StatusOr<double> steps = ParseSteps(warmup, context);
  if (!steps.ok()) return options.Error("warmup", steps.status().message());
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Schedule> schedule,
                           ScheduleRegistry::Create("schedule", name, std::move(options), context));
  if (*steps <= 1) return schedule;  // the ramp would be 1 from the first step on
  return std::make_unique<LinearWarmup>(std::move(schedule), *steps);
}

}  // namespace tessera
