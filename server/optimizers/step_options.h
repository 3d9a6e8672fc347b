// The options that every optimizer has, and a range that many options share.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/options.h"

namespace tessera {

struct StepOptions {
  double lr = 0;            // base learning rate, > 0
  double weight_decay = 0;  // >= 0; what it does is the optimizer's matter
};

// Reads `lr` (required) and `weight_decay`.
// Errors: kInvalidArgument with position: missing or out of range.
absl::StatusOr<StepOptions> ReadStepOptions(Options& options, double default_weight_decay = 0);

// A decay rate: option `name` in [0, 1).
// Errors: kInvalidArgument with position: out of range.
absl::StatusOr<double> ReadDecayRate(Options& options, absl::string_view name, double fallback);

// What keeps a division from a zero divisor: option `eps` in [1e-30, 1], a range in which float32 is exact to
// its last bit.
// Errors: kInvalidArgument with position: out of range.
absl::StatusOr<double> ReadEps(Options& options, double fallback);

}  // namespace tessera
