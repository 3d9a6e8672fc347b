#include "server/optimizers/adam_options.h"

#include <cmath>

#include "common/exact_math.h"
#include "common/status.h"

namespace tessera {
namespace {

double BiasOf(double beta, int64_t update) { return 1 - ExactPower(beta, static_cast<double>(update)); }

}  // namespace

absl::StatusOr<AdamOptions> ReadAdamOptions(Options& options, double default_weight_decay) {
  AdamOptions read;
  TESSERA_ASSIGN_OR_RETURN(read.step, ReadStepOptions(options, default_weight_decay));
  TESSERA_ASSIGN_OR_RETURN(read.beta1, ReadDecayRate(options, "beta1", 0.9));
  TESSERA_ASSIGN_OR_RETURN(read.beta2, ReadDecayRate(options, "beta2", 0.999));
  TESSERA_ASSIGN_OR_RETURN(read.eps, ReadEps(options, 1e-8));
  return read;
}

AdamNumbers::AdamNumbers(const AdamOptions& options, const UpdateContext& context)
    : beta1(static_cast<float>(options.beta1)),
      rest1(static_cast<float>(1 - options.beta1)),
      beta2(static_cast<float>(options.beta2)),
      rest2(static_cast<float>(1 - options.beta2)),
      step_size(static_cast<float>(context.learning_rate / BiasOf(options.beta1, context.update))),
      root_of_bias(static_cast<float>(std::sqrt(BiasOf(options.beta2, context.update)))),
      eps(static_cast<float>(options.eps)) {}

}  // namespace tessera
