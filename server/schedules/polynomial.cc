// polynomial: from the base learning rate down to a part of it at the run's end, warm-up included in the run.
//   factor = end_factor + (1 - end_factor) * (1 - progress / total_steps)^power, and end_factor after the end
// Any power: ExactPower multiplies for its whole part and takes square roots for its fraction.
// Options: power = 1 (a straight line) in (0, 100], end_factor = 0 in [0, 1].
// Errors: kInvalidArgument, an option out of range, a run without steps.
// Source: torch.optim.lr_scheduler.PolynomialLR (end_factor = 0); Chen et al. 2017 (DeepLab, power 0.9).
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/exact_math.h"
#include "common/status.h"
#include "server/schedule.h"

namespace tessera {
namespace {

class Polynomial : public Schedule {
 public:
  static absl::StatusOr<std::unique_ptr<Schedule>> Create(Options options, ScheduleContext context) {
    TESSERA_ASSIGN_OR_RETURN(const double power, options.Number("power", 1, 0, 100));
    if (power == 0) return options.Error("power", "`power` must be above 0");
    TESSERA_ASSIGN_OR_RETURN(const double end_factor, options.Number("end_factor", 0, 0, 1));
    TESSERA_RETURN_IF_ERROR(options.Finish("schedule `polynomial`"));
    if (!(context.total_steps > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("schedule `polynomial` needs a run of some steps, not of ", context.total_steps));
    }
    return std::make_unique<Polynomial>(context.total_steps, power, end_factor);
  }

  Polynomial(double total_steps, double power, double end_factor)
      : total_steps_(total_steps), power_(power), end_factor_(end_factor) {}

  double Factor(double progress) const override {
    const double left = 1 - std::min(1.0, progress / total_steps_);
    return end_factor_ + (1 - end_factor_) * ExactPower(left, power_);
  }

 private:
  const double total_steps_;
  const double power_;
  const double end_factor_;
};

const ScheduleRegistry::Entry kEntry("polynomial", &Polynomial::Create);

}  // namespace
}  // namespace tessera
