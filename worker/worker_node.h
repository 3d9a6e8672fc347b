// A worker as a process: joins the cluster, trains its replicas, stays until the job is over.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/fault/link_faults.h"
#include "common/rpc/node_agent.h"
#include "common/signal_watcher.h"
#include "worker/paced_executor.h"

namespace tessera {

struct WorkerNodeOptions {
  std::string coordinator;  // host:port, several separated by commas
  absl::Duration patience = kDefaultPatience;
  // After SIGTERM: so long it may take until others run its replicas, before it leaves anyway. A second
  // signal, or SIGINT, ends it at once.
  absl::Duration drain_timeout = absl::Seconds(20);
  FaultOptions faults;     // of its links, on purpose
  PaceOptions pace;        // to study slow workers
  std::string trace_file;  // where the trace goes, or ""
};

// Runs until the job is over or a signal ends it. Errors: what ended it, in one line.
absl::Status RunWorkerNode(const WorkerNodeOptions& options, SignalWatcher* signals);

}  // namespace tessera
