// Random layouts and numbers of nodes: what placement.h promises of any. A failure names its seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "coordinator/placement.h"

namespace tessera {
namespace {

constexpr int kPlacedShards = 100000;
constexpr int kAssignments = 3000;
constexpr int32_t kMostNodes = 40;

ShardLayout AnyLayout(std::mt19937& random) {
  std::vector<ParameterBlock> blocks(1 + random() % 30);
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string layer = absl::StrCat("layer", i);
    const int64_t elements = 1 + random() % (1U << (1 + random() % 16));
    blocks[i] = {layer, ParameterKind::kWeight, {{.name = layer + ".weight", .shape = {elements}}}};
  }
  const int64_t shard_bytes = int64_t{256} << random() % 10;
  return ShardLayout::Create(std::move(blocks), shard_bytes).value();
}

// What is wrong with `held`, or "".
std::string Wrong(const ShardLayout& layout, const std::vector<std::vector<ShardId>>& held, size_t servers) {
  if (held.size() != servers) return "another number of servers";
  int64_t largest = 0;
  for (const Shard& shard : layout.shards()) largest = std::max(largest, shard.bytes());
  std::vector<int> times(layout.shards().size(), 0);
  for (const std::vector<ShardId>& shards : held) {
    if (!std::is_sorted(shards.begin(), shards.end())) return "shards out of order";
    int64_t bytes = 0;
    for (const ShardId shard : shards) {
      ++times.at(static_cast<size_t>(shard));
      bytes += layout.shards()[shard].bytes();
    }
    if (bytes > layout.total_bytes() / static_cast<int64_t>(servers) + largest)
      return "a server with too much";
  }
  const bool once = std::all_of(times.begin(), times.end(), [](int count) { return count == 1; });
  return once ? "" : "a shard that is not placed once";
}

std::string Wrong(const std::vector<std::vector<ReplicaId>>& blocks, int32_t replicas, size_t workers) {
  if (blocks.size() != workers) return "another number of workers";
  ReplicaId next = 0;
  size_t size = blocks.front().size();
  for (const std::vector<ReplicaId>& block : blocks) {
    if (block.size() > size || block.size() + 1 < blocks.front().size()) return "blocks of uneven sizes";
    size = block.size();
    for (const ReplicaId replica : block) {
      if (replica != next++) return "replicas out of order";
    }
  }
  return next == replicas ? "" : "replicas that nobody runs";
}

TEST(PlacementModel, AnyLayoutIsPlacedOnceAndEvenly) {
  size_t placed = 0;
  for (uint32_t seed = 0; placed < kPlacedShards; ++seed) {
    std::mt19937 random(seed);
    const ShardLayout layout = AnyLayout(random);
    const auto servers = static_cast<int32_t>(1 + random() % kMostNodes);
    const std::vector<std::vector<ShardId>> held = PlaceShards(layout, servers);
    ASSERT_EQ(Wrong(layout, held, static_cast<size_t>(servers)), "") << "seed " << seed;
    ASSERT_EQ(PlaceShards(layout, servers), held) << "seed " << seed;
    placed += layout.shards().size();
  }
}

TEST(PlacementModel, AnyReplicasAreAssignedOnceAndEvenly) {
  for (uint32_t seed = 0; seed < kAssignments; ++seed) {
    std::mt19937 random(seed);
    const auto replicas = static_cast<int32_t>(1 + random() % 200);
    const auto workers = static_cast<int32_t>(1 + random() % kMostNodes);
    ASSERT_EQ(Wrong(AssignReplicas(replicas, workers), replicas, static_cast<size_t>(workers)), "")
        << "seed " << seed;
  }
}

}  // namespace
}  // namespace tessera
