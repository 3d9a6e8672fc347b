// cosine: half a wave from the base learning rate down to 0 at the run's end, warm-up included in the run.
//   factor = (1 + cos(pi * progress / total_steps)) / 2, and 0 after the end
// Options: none. Errors: kInvalidArgument, a run without steps.
// Source: Loshchilov & Hutter 2017 (SGDR), equation 5, with a single period and eta_min = 0.
#include <algorithm>

#include "common/exact_math.h"
#include "common/status.h"
#include "server/schedule.h"

namespace tessera {
namespace {

constexpr double kPi = 0x1.921fb54442d18p+1;

class Cosine : public Schedule {
 public:
  static absl::StatusOr<std::unique_ptr<Schedule>> Create(Options options, ScheduleContext context) {
    TESSERA_RETURN_IF_ERROR(options.Finish("schedule `cosine`"));
    if (!(context.total_steps > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("schedule `cosine` needs a run of some steps, not of ", context.total_steps));
    }
    return std::make_unique<Cosine>(context.total_steps);
  }

  explicit Cosine(double total_steps) : total_steps_(total_steps) {}

  double Factor(double progress) const override {
    const double part = std::min(1.0, progress / total_steps_);
    return (1 + ExactCos(kPi * part)) / 2;
  }

 private:
  const double total_steps_;
};

const ScheduleRegistry::Entry kEntry("cosine", &Cosine::Create);

}  // namespace
}  // namespace tessera
