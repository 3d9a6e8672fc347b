// Fetches the trained weights and the counters from all servers of a finished job.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/safetensors.h"
#include "common/shard_layout.h"
#include "common/types.h"
#include "coordinator/run_summary.h"

namespace tessera {

// A server and what it holds.
struct ServerAssignment {
  std::string name;  // for messages: "server 1 (pid 123, 127.0.0.1:4242)"
  std::string address;
  std::vector<ShardId> shards;
};

struct CollectedModel {
  NamedTensors tensors;
  TransferCounters counters;
};

// Every shard must have version `expected`. Blocks; each wait is bounded.
// Errors name the server: kUnavailable, it cannot be reached; kDeadlineExceeded; kInternal, a shard of
// another version.
using ModelCollector = std::function<absl::StatusOr<CollectedModel>(
    const ShardLayout& layout, absl::Span<const ServerAssignment> servers, Version expected)>;

// Over gRPC, a few megabytes at a time; `timeout` bounds the wait for each of these portions.
ModelCollector RpcModelCollector(absl::Duration timeout);

}  // namespace tessera
