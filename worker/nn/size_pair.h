// A size in both directions of an image, as a job file writes it: `7`, or `[6, 7]` for height and width.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/options.h"

namespace tessera::nn {

struct SizePair {
  int64_t h = 0, w = 0;
  friend bool operator==(const SizePair&, const SizePair&) = default;
};

// The named option; marks it read.
// Errors: kInvalidArgument with position: absent, a list of other than two, a size outside [min, max].
absl::StatusOr<SizePair> RequiredSizePair(Options& options, absl::string_view name, int64_t min, int64_t max);

}  // namespace tessera::nn
