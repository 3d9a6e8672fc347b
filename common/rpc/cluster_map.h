// What a cluster map's messages mean in our types.
#pragma once

#include "absl/status/statusor.h"
#include "common/shard_layout.h"
#include "proto/coordinator_service.pb.h"

namespace tessera {

// The layout that every node of the job works with. Errors: those of ShardLayout::Create; kInvalidArgument, a
// dimension that is not positive.
absl::StatusOr<ShardLayout> LayoutFromMap(const wire::ClusterMap& map);

// Writes `layout`'s blocks and `shard_bytes` into `map`.
void LayoutToMap(const ShardLayout& layout, int64_t shard_bytes, wire::ClusterMap* map);

}  // namespace tessera
