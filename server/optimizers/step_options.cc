#include "server/optimizers/step_options.h"

#include "common/status.h"

namespace tessera {
namespace {

// Far above what trains anything, and far from the end of float.
constexpr double kMax = 1e6;

}  // namespace

absl::StatusOr<StepOptions> ReadStepOptions(Options& options, double default_weight_decay) {
  StepOptions step;
  TESSERA_ASSIGN_OR_RETURN(step.lr, options.RequiredNumber("lr", 0, kMax));
  if (step.lr == 0) return options.Error("lr", "`lr` must be above 0");
  TESSERA_ASSIGN_OR_RETURN(step.weight_decay, options.Number("weight_decay", default_weight_decay, 0, kMax));
  return step;
}

absl::StatusOr<double> ReadDecayRate(Options& options, absl::string_view name, double fallback) {
  TESSERA_ASSIGN_OR_RETURN(const double rate, options.Number(name, fallback, 0, 1));
  if (rate == 1) return options.Error(name, absl::StrCat("`", name, "` must be below 1"));
  return rate;
}

absl::StatusOr<double> ReadEps(Options& options, double fallback) {
  return options.Number("eps", fallback, 1e-30, 1);
}

}  // namespace tessera
