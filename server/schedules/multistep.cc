// multistep: the learning rate falls by a constant factor at each milestone.
//   factor = gamma^n,  n = how many milestones are <= progress
// Options: milestones (required, rising: `[5 epochs, 8 epochs]`, or in steps), gamma = 0.1 in (0, 1].
// Errors: kInvalidArgument, an option out of range. Source: torch.optim.lr_scheduler.MultiStepLR.
#include <algorithm>
#include <utility>
#include <vector>

#include "common/exact_math.h"
#include "common/status.h"
#include "server/schedule.h"
#include "server/schedules/schedule_options.h"

namespace tessera {
namespace {

class Multistep : public Schedule {
 public:
  static absl::StatusOr<std::unique_ptr<Schedule>> Create(Options options, ScheduleContext context) {
    TESSERA_ASSIGN_OR_RETURN(std::vector<double> milestones, ReadRisingSteps(options, "milestones", context));
    TESSERA_ASSIGN_OR_RETURN(const double gamma, ReadGamma(options));
    TESSERA_RETURN_IF_ERROR(options.Finish("schedule `multistep`"));
    return std::make_unique<Multistep>(std::move(milestones), gamma);
  }

  Multistep(std::vector<double> milestones, double gamma)
      : milestones_(std::move(milestones)), gamma_(gamma) {}

  double Factor(double progress) const override {
    const auto passed = std::upper_bound(milestones_.begin(), milestones_.end(), progress);
    return ExactPower(gamma_, static_cast<double>(passed - milestones_.begin()));
  }

 private:
  const std::vector<double> milestones_;  // in steps, rising
  const double gamma_;
};

const ScheduleRegistry::Entry kEntry("multistep", &Multistep::Create);

}  // namespace
}  // namespace tessera
