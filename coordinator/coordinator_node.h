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
  std::string run_folder;  // made when missing; `coordinator` in it will hold the address
};

// Runs `plan` to its end; a signal stops the job in order. OK: done or stopped.
// Errors: kAlreadyExists, the port is in use; kUnavailable, the folder cannot be written; why the job failed.
absl::Status RunCoordinatorNode(JobPlan plan, const CoordinatorNodeOptions& options, SignalWatcher* signals);

}  // namespace tessera
