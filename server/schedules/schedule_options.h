// The options that schedules share: lengths of a run as a job file writes them ("100 steps", "1.5 epochs"),
// and `gamma`.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/options.h"
#include "server/schedule.h"

namespace tessera {

// Option `name` in steps (an epoch has context.steps_per_epoch of them); `fallback` where it is absent.
// Errors: kInvalidArgument with position, naming `name` and its text: not a finite number >= 0 of steps or
// epochs.
absl::StatusOr<double> ReadSteps(Options& options, absl::string_view name, absl::string_view fallback,
                                 const ScheduleContext& context);
// As above, but an absent option is kInvalidArgument ("missing `every`").
absl::StatusOr<double> ReadRequiredSteps(Options& options, absl::string_view name,
                                         const ScheduleContext& context);
// A list of them, each above 0 and above the one before; a single value counts as a list of one.
// Errors: as above; kInvalidArgument, no element, or one that does not rise.
absl::StatusOr<std::vector<double>> ReadRisingSteps(Options& options, absl::string_view name,
                                                    const ScheduleContext& context);

// The factor of a fall: `gamma` in (0, 1], 0.1 by default.
// Errors: kInvalidArgument with position: out of range.
absl::StatusOr<double> ReadGamma(Options& options);

}  // namespace tessera
