// The run's checkpoints as the coordinator sees them: looks for the newest whole one, and makes one whole.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/checkpoint_tracker.h"
#include "coordinator/time_source.h"
#include "job/job_plan.h"
#include "proto/coordinator_service.pb.h"

namespace tessera {

struct FoundCheckpoint {
  wire::Restore restore;                 // without a folder: there is none
  std::vector<std::string> passed_over;  // newer ones that are damaged, a line each
};

// Blocks: reads and hashes files. Injected, so that tests need no disk.
struct CheckpointStore {
  // Errors: kUnavailable, the folder cannot be read: to be tried again.
  std::function<absl::StatusOr<FoundCheckpoint>()> find_newest;
  // Writes the manifest of a checkpoint whose files are all there, then removes those that are too old.
  // Returns its folder. Errors: kResourceExhausted, kUnavailable: there is no such checkpoint.
  std::function<absl::StatusOr<std::string>(const WholeCheckpoint& checkpoint, int64_t rewind)> finish;
};

// In `folder`. `plan` need not live on.
CheckpointStore DiskCheckpoints(const JobPlan& plan, const std::string& folder, TimeSource now);

// That a new job may begin in `folder`, or go on there when `resume`. Errors: kFailedPrecondition, another
// run's checkpoints are there, or those of another job (names the key); kUnavailable, it cannot be read.
absl::Status CheckCheckpointFolder(const JobPlan& plan, const std::string& folder, bool resume);

}  // namespace tessera
