// The options of the Adam family, and what they come to at one update.
#pragma once

#include "absl/status/statusor.h"
#include "common/options.h"
#include "server/optimizer.h"
#include "server/optimizers/step_options.h"

namespace tessera {

struct AdamOptions {
  StepOptions step;
  double beta1 = 0;  // decay rate of the mean gradient
  double beta2 = 0;  // decay rate of the mean squared gradient
  double eps = 0;
};

// Reads `lr`, `weight_decay`, `beta1` = 0.9, `beta2` = 0.999 and `eps` = 1e-8.
// Errors: kInvalidArgument with position: missing or out of range.
absl::StatusOr<AdamOptions> ReadAdamOptions(Options& options, double default_weight_decay);

// The numbers of update t, computed in double and then rounded to float32.
struct AdamNumbers {
  AdamNumbers(const AdamOptions& options, const UpdateContext& context);

  float beta1, rest1;  // beta1, 1 - beta1
  float beta2, rest2;
  float step_size;     // lr / (1 - beta1^t): the bias correction of the mean
  float root_of_bias;  // sqrt(1 - beta2^t), by which the root of the mean square is divided
  float eps;
};

}  // namespace tessera
