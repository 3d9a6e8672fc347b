// A target (target.h) that is asked: whether its run is over, and what its coordinator says if not.
#pragma once

#include <optional>

#include "absl/status/statusor.h"
#include "cli/coordinator_client.h"
#include "cli/summary.h"
#include "cli/target.h"

namespace tessera::cli {

// The summary that the run has left, if it is over.
std::optional<Summary> SummaryOf(const Target& target);

// The status of the target's run, from `client`, which asks at its address.
// Errors: those of GetStatus; kFailedPrecondition or kNotFound, another job answers there.
absl::StatusOr<wire::JobStatus> AskRunningJob(const Target& target, CoordinatorClient* client);

}  // namespace tessera::cli
