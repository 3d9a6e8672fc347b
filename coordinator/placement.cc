#include "coordinator/placement.h"

#include <algorithm>
#include <numeric>

#include "common/check.h"

namespace tessera {

std::vector<std::vector<ShardId>> PlaceShards(const ShardLayout& layout, int32_t servers) {
  TESSERA_CHECK(servers >= 1);
  const std::vector<Shard>& shards = layout.shards();
  std::vector<ShardId> order(shards.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](ShardId a, ShardId b) { return shards[a].length > shards[b].length; });
  std::vector<std::vector<ShardId>> held(servers);
  std::vector<int64_t> load_bytes(servers, 0);
  for (const ShardId id : order) {
    const auto least = std::min_element(load_bytes.begin(), load_bytes.end());
    *least += shards[id].bytes();
    held[least - load_bytes.begin()].push_back(id);
  }
  for (std::vector<ShardId>& ids : held) std::sort(ids.begin(), ids.end());
  return held;
}

std::vector<std::vector<ReplicaId>> AssignReplicas(int32_t replicas, int32_t workers) {
  TESSERA_CHECK(replicas >= 1 && workers >= 1);
  std::vector<std::vector<ReplicaId>> blocks(workers);
  ReplicaId next = 0;
  for (int32_t worker = 0; worker < workers; ++worker) {
    const int32_t size = replicas / workers + (worker < replicas % workers ? 1 : 0);
    for (int32_t i = 0; i < size; ++i) blocks[worker].push_back(next++);
  }
  return blocks;
}

}  // namespace tessera
