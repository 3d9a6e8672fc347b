// Reads the newest versions of shards from one server, over the same stream and messages that workers use.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/tensor_buffer.h"
#include "common/types.h"

namespace tessera {

struct FetchedShard {
  ShardId shard = 0;
  Version version = 0;
  SharedTensor weights;
};

// The newest version of each of `shards`, in their order; waits at most `timeout`, and asks again for what
// does not come. `node` names the caller to the server. Errors: kUnavailable, the server cannot be reached;
// kDeadlineExceeded; those of ParameterStore::Read.
absl::StatusOr<std::vector<FetchedShard>> ReadShards(const std::string& address, const std::string& node,
                                                     absl::Span<const ShardId> shards,
                                                     absl::Duration timeout);

}  // namespace tessera
