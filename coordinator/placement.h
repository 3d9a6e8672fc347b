// Who holds and who runs what. Pure arithmetic: the same job on the same number of nodes gets the same
// answer.
#pragma once

#include <cstdint>
#include <vector>

#include "common/shard_layout.h"
#include "common/types.h"

namespace tessera {

// The shards of each server, ascending. Largest first onto the server with the fewest bytes; ties go to the
// lower shard id and the lower server. No server has more than its even share plus one shard (the largest).
// servers >= 1. Source: Graham 1969 (longest processing time first).
std::vector<std::vector<ShardId>> PlaceShards(const ShardLayout& layout, int32_t servers);

// The replicas of each worker: contiguous blocks in order of index, whose sizes differ by one at most, the
// larger first. Workers beyond `replicas` get none. replicas, workers >= 1.
std::vector<std::vector<ReplicaId>> AssignReplicas(int32_t replicas, int32_t workers);

}  // namespace tessera
