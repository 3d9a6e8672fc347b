// A parameter server as a process: joins the cluster, holds its shards, serves until the job is over.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/rpc/listener.h"
#include "common/rpc/node_agent.h"
#include "common/shard_layout.h"
#include "common/signal_watcher.h"
#include "config/job_spec.h"
#include "server/parameter_store.h"

namespace tessera {

struct ServerNodeOptions {
  std::string coordinator;  // host:port, several separated by commas
  absl::Duration patience = kDefaultPatience;
  ListenOptions listen;
  int threads = 1;  // completion queues
  std::string trace_file;  // where the trace goes, or ""
};

// Gives memory for so many bytes of versions, or null.
using VersionMemorySource = std::function<std::shared_ptr<TensorMemory>(size_t bytes)>;

// Runs until the job is over or a signal ends it. Errors: what ended it, in one line.
absl::Status RunServerNode(const ServerNodeOptions& options, SignalWatcher* signals);

// The store that `job` asks for, with `held` of the layout's shards. `units` are the replicas of each worker
// (ConsistencyOptions). A group of 0, of a job that was not loaded from a file, is the mode's own: all
// replicas in sync; one in async and ssp, and in async no staleness bound. `shard_digests` are those of the
// coordinator's weights file (WeightsPlan); empty: not compared. Errors: kInvalidArgument, names the key;
// kFailedPrecondition, model.weights is another file here; those of StartingWeights. Versions lie in what
// `version_memory` gives for them; empty: on the heap.
absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(const JobSpec& job, const ShardLayout& layout,
                                                          int64_t steps_per_epoch,
                                                          absl::Span<const ReplicaRange> units,
                                                          absl::Span<const ShardId> held,
                                                          absl::Span<const uint64_t> shard_digests = {},
                                                          const VersionMemorySource& version_memory = {});

}  // namespace tessera
