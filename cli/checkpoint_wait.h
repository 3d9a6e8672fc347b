// Waits for a checkpoint that was asked for.
#pragma once

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/status_poller.h"
#include "common/types.h"

namespace tessera::cli {

// The first status that tells of a whole checkpoint at `clock` or later. `ask` has a deadline of its own; it
// is repeated every `interval`, also when it has no answer, since a coordinator may be away for a while.
// Errors: kDeadlineExceeded, none within `timeout`; kFailedPrecondition, the job ended without one.
absl::StatusOr<wire::JobStatus> AwaitCheckpoint(StatusPoller::Ask ask, Clock clock, absl::Duration timeout,
                                                absl::Duration interval);

}  // namespace tessera::cli
