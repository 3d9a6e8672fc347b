// step: the learning rate falls by a constant factor at equal distances.
//   factor = gamma^floor(progress / every)
// At exactly k * every the k-th fall has happened.
// Options: every (required: "10 epochs" or "500 steps", of at least one step), gamma = 0.1 in (0, 1].
// Errors: kInvalidArgument, an option out of range. Source: torch.optim.lr_scheduler.StepLR.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/exact_math.h"
#include "common/status.h"
#include "server/schedule.h"
#include "server/schedules/schedule_options.h"

namespace tessera {
namespace {

class Step : public Schedule {
 public:
  static absl::StatusOr<std::unique_ptr<Schedule>> Create(Options options, ScheduleContext context) {
    TESSERA_ASSIGN_OR_RETURN(const double every, ReadRequiredSteps(options, "every", context));
    if (every < 1) {
      return options.Error("every", absl::StrCat("`every` must be at least 1 step, not ", every));
    }
    TESSERA_ASSIGN_OR_RETURN(const double gamma, ReadGamma(options));
    TESSERA_RETURN_IF_ERROR(options.Finish("schedule `step`"));
    return std::make_unique<Step>(every, gamma);
  }

  Step(double every, double gamma) : every_(every), gamma_(gamma) {}

  double Factor(double progress) const override { return ExactPower(gamma_, std::floor(progress / every_)); }

 private:
  const double every_;
  const double gamma_;
};

const ScheduleRegistry::Entry kEntry("step", &Step::Create);

}  // namespace
}  // namespace tessera
