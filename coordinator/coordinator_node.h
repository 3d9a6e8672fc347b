// The coordinator as a process: listens, leaves its address in the run's folder, sees to the job.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/rpc/listener.h"
#include "common/signal_watcher.h"
#include "job/job_plan.h"

namespace tessera {

struct CoordinatorNodeOptions {
  ListenOptions listen;
  // Made when missing; `coordinator` in it will hold the address. Whoever names it keeps others out of it
  // (`tessera run` holds its lock); when it is empty, runs/<job's name> is taken and locked, and an older
  // run's folder moves away.
  std::string run_folder;
  // Goes on in that folder, from its journal, or else from the newest checkpoint.
  bool resume = false;
};

// Where `folder`'s last coordinator listened: one that goes on there listens there too. "" if nobody knows.
std::string AddressOfPredecessor(const std::string& folder);

// Runs `plan` to its end; a signal stops the job in order. OK: done or stopped, or it was done already.
// Errors: kAlreadyExists, the port is in use, or a run of the same name is going on; kUnavailable, the folder
// cannot be written; kFailedPrecondition, the folder is of another job (names the key), or has checkpoints of
// another run; kNotFound, there is nothing to resume; those of Journal; why the job failed.
absl::Status RunCoordinatorNode(JobPlan plan, const CoordinatorNodeOptions& options, SignalWatcher* signals);

}  // namespace tessera
