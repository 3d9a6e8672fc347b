// A parameter server as a process: joins the cluster, holds the shards that each map gives it, serves until
// the job is over. Declared dead while it lives, it drops all that it has and joins again, as another one.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/fault/link_faults.h"
#include "common/rpc/listener.h"
#include "common/rpc/node_agent.h"
#include "common/signal_watcher.h"

namespace tessera {

struct ServerNodeOptions {
  std::string coordinator;  // host:port, several separated by commas
  absl::Duration patience = kDefaultPatience;
  // After SIGTERM: so long others may take to get what this server holds, before it leaves anyway. A second
  // signal, or SIGINT, ends it at once.
  absl::Duration drain_timeout = absl::Seconds(20);
  ListenOptions listen;
  int threads = 1;         // completion queues
  FaultOptions faults;     // of its links, on purpose
  std::string trace_file;  // where the trace goes, or ""
};

// Runs until the job is over or a signal ends it. Errors: what ended it, in one line.
absl::Status RunServerNode(const ServerNodeOptions& options, SignalWatcher* signals);

}  // namespace tessera
