// A parameter server as a process: joins the cluster, holds its shards, serves until the job is over.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/rpc/listener.h"
#include "common/shard_layout.h"
#include "common/signal_watcher.h"
#include "config/job_spec.h"
#include "server/parameter_store.h"

namespace tessera {

struct ServerNodeOptions {
  std::string coordinator;  // host:port
  ListenOptions listen;
  int threads = 1;  // completion queues
};

// Runs until the job is over or a signal ends it. Errors: what ended it, in one line.
absl::Status RunServerNode(const ServerNodeOptions& options, SignalWatcher* signals);

// The store that `job` asks for, with `held` of the layout's shards. Errors: kInvalidArgument, names the key.
absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(const JobSpec& job, const ShardLayout& layout,
                                                          int64_t steps_per_epoch,
                                                          absl::Span<const ShardId> held);

}  // namespace tessera
