#include "server/optimizers/step_options.h"

#include "common/status.h"

namespace tessera {
namespace {

// Far above what trains anything, and far from the end of float.
constexpr double kMax = 1e6;

}  // namespace

absl::StatusOr<StepOptions> ReadStepOptions(Options& options) {
  StepOptions step;
  TESSERA_ASSIGN_OR_RETURN(step.lr, options.RequiredNumber("lr", 0, kMax));
  if (step.lr == 0) return options.Error("lr", "`lr` must be above 0");
  TESSERA_ASSIGN_OR_RETURN(const double weight_decay, options.Number("weight_decay", 0, 0, kMax));
  step.weight_decay = static_cast<float>(weight_decay);
  return step;
}

}  // namespace tessera
