#include "coordinator/placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// One block per layer; `elements` long.
ShardLayout LayoutOf(const std::vector<int64_t>& elements, int64_t shard_bytes) {
  std::vector<ParameterBlock> blocks;
  for (size_t i = 0; i < elements.size(); ++i) {
    const std::string layer = absl::StrCat("layer", i);
    blocks.push_back({layer,
                      i % 3 == 2 ? ParameterKind::kStatistic : ParameterKind::kWeight,
                      {{.name = layer + ".weight", .shape = {elements[i]}}}});
  }
  return *ShardLayout::Create(std::move(blocks), shard_bytes);
}

int64_t BytesOf(const ShardLayout& layout, const std::vector<ShardId>& shards) {
  int64_t bytes = 0;
  for (const ShardId shard : shards) bytes += layout.shards()[shard].bytes();
  return bytes;
}

TEST(PlaceShards, PutsTheLargestFirstOntoTheLeastLoadedServer) {
  const ShardLayout layout = LayoutOf({10, 40, 20, 30}, 1024);
  // 40 -> 0, 30 -> 1, 20 -> 1, 10 -> 0.
  EXPECT_THAT(PlaceShards(layout, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
}

TEST(PlaceShards, BreaksTiesByLowestIndex) {
  const ShardLayout layout = LayoutOf({8, 8, 8, 8}, 1024);
  EXPECT_THAT(PlaceShards(layout, 3), ElementsAre(ElementsAre(0, 3), ElementsAre(1), ElementsAre(2)));
}

TEST(PlaceShards, PlacesEveryShardOnceWithinOneShardOfTheEvenShare) {
  const ShardLayout layout = LayoutOf({520, 25050, 400500, 5010, 64, 64, 7, 1}, 4096);
  const int64_t largest = 4096;
  for (int32_t servers = 1; servers <= 9; ++servers) {
    const auto held = PlaceShards(layout, servers);
    ASSERT_EQ(held.size(), static_cast<size_t>(servers));
    std::set<ShardId> seen;
    for (const auto& shards : held) {
      seen.insert(shards.begin(), shards.end());
      EXPECT_TRUE(std::is_sorted(shards.begin(), shards.end()));
      EXPECT_LE(BytesOf(layout, shards), layout.total_bytes() / servers + largest) << servers << " servers";
    }
    size_t count = 0;
    for (const auto& shards : held) count += shards.size();
    EXPECT_EQ(count, layout.shards().size());
    EXPECT_EQ(seen.size(), layout.shards().size());
    EXPECT_EQ(held, PlaceShards(layout, servers));
  }
}

TEST(PlaceShards, LeavesServersBeyondTheShardsEmpty) {
  EXPECT_THAT(PlaceShards(LayoutOf({4}, 1024), 3), ElementsAre(ElementsAre(0), IsEmpty(), IsEmpty()));
}

TEST(AssignReplicas, GivesContiguousBalancedBlocks) {
  EXPECT_THAT(AssignReplicas(4, 2), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3)));
  EXPECT_THAT(AssignReplicas(5, 3), ElementsAre(ElementsAre(0, 1), ElementsAre(2, 3), ElementsAre(4)));
  EXPECT_THAT(AssignReplicas(3, 1), ElementsAre(ElementsAre(0, 1, 2)));
}

TEST(AssignReplicas, LeavesSurplusWorkersIdle) {
  EXPECT_THAT(AssignReplicas(2, 4), ElementsAre(ElementsAre(0), ElementsAre(1), IsEmpty(), IsEmpty()));
}

}  // namespace
}  // namespace tessera
