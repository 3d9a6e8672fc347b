// The options that every optimizer has.
#pragma once

#include "absl/status/statusor.h"
#include "common/options.h"

namespace tessera {

struct StepOptions {
  double lr = 0;           // base learning rate, > 0
  float weight_decay = 0;  // >= 0: weight_decay * w is added to the gradient (L2, as PyTorch's SGD)
};

// Reads `lr` (required) and `weight_decay` (default 0).
// Errors: kInvalidArgument with position: missing or out of range.
absl::StatusOr<StepOptions> ReadStepOptions(Options& options);

}  // namespace tessera
