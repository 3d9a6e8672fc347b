// Makes of a snapshot where a shard goes on: bit for bit as if it had never stopped.
#pragma once

#include "absl/status/statusor.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/types.h"
#include "server/consistency_policy.h"
#include "server/shard_replication.h"
#include "server/shard_state.h"
#include "server/shard_updater.h"
#include "server/version_buffers.h"

namespace tessera {

// The start of shard `id`, which is as long as `updater`: the weights of `snapshot` copied to a place of
// `versions`, its slots to `updater`.
// Errors: kInvalidArgument, a snapshot of another shard or length, or one whose version and applied_pushes
// are not what its policy counted; those of ConsistencyPolicy::Restore and ShardUpdater::SetSlots.
absl::StatusOr<ShardStart> StartFrom(const ShardSnapshot& snapshot, ShardId id,
                                     const ConsistencyOptions& options, const VersionBuffers& versions,
                                     ShardUpdater& updater);

// The same of a copy, with the version before it.
absl::StatusOr<ShardStart> StartFrom(const ShardCopy& copy, ShardId id, const ConsistencyOptions& options,
                                     const VersionBuffers& versions, ShardUpdater& updater);

}  // namespace tessera
