#include "common/shard_layout.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

ParameterBlock Block(const std::string& layer, std::vector<Shape> shapes) {
  ParameterBlock block{layer, ParameterKind::kWeight, {}};
  for (size_t i = 0; i < shapes.size(); ++i) {
    block.parameters.push_back({layer + "." + std::to_string(i), std::move(shapes[i]), block.kind, {}});
  }
  return block;
}

std::vector<int64_t> Lengths(const ShardLayout& layout) {
  std::vector<int64_t> lengths;
  for (const Shard& shard : layout.shards()) lengths.push_back(shard.length);
  return lengths;
}

TEST(ShardLayout, BlockThatFitsIsOneShard) {
  const auto layout = ShardLayout::Create({Block("conv1", {{20, 1, 5, 5}, {20}})}, 520 * 4);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(Lengths(*layout), std::vector<int64_t>{520});
  EXPECT_EQ(layout->Describe(0), "conv1 [0,520)");
  EXPECT_EQ(layout->total_bytes(), 2080);
}

TEST(ShardLayout, OneElementAboveTheLimitMakesTwoEvenShards) {
  const auto layout = ShardLayout::Create({Block("fc", {{129}})}, 128 * 4);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(Lengths(*layout), (std::vector<int64_t>{80, 49}));  // 65 rounded up to a whole cache line
}

TEST(ShardLayout, ExactMultiplesFillTheirShards) {
  const auto layout = ShardLayout::Create({Block("fc", {{384}})}, 128 * 4);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(Lengths(*layout), (std::vector<int64_t>{128, 128, 128}));
}

TEST(ShardLayout, LimitOfOneFloatMakesOneShardPerElement) {
  const auto layout = ShardLayout::Create({Block("fc", {{2}, {1}}), Block("out", {{1}})}, 7);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(Lengths(*layout), (std::vector<int64_t>{1, 1, 1, 1}));
  EXPECT_EQ(layout->ShardsOfBlock(0), (std::vector<ShardId>{0, 1, 2}));
  EXPECT_EQ(layout->ShardsOfBlock(1), (std::vector<ShardId>{3}));
  EXPECT_EQ(layout->Describe(3), "out [0,1)");
}

TEST(ShardLayout, StatisticsAreNamedInMessages) {
  ParameterBlock block = Block("bn1", {{16}, {16}});
  block.kind = ParameterKind::kStatistic;
  const auto layout = ShardLayout::Create({block}, 1 << 20);
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->Describe(0), "bn1 statistics [0,32)");
}

// Every element of every parameter lies in exactly one shard, for limits around all the boundaries.
TEST(ShardLayout, SegmentsCoverEveryElementOnce) {
  const std::vector<ParameterBlock> blocks = {Block("a", {{3, 5}, {5}}), Block("b", {{1}}),
                                              Block("c", {{7, 11}, {1}, {40}})};
  for (int64_t limit = 1; limit <= 130; ++limit) {
    const auto layout = ShardLayout::Create(blocks, limit * 4);
    ASSERT_TRUE(layout.ok());
    std::set<std::pair<std::string, int64_t>> seen;
    for (const Shard& shard : layout->shards()) {
      EXPECT_LE(shard.length, limit);
      int64_t at = 0;
      for (const ShardSegment& segment : layout->Segments(shard.id)) {
        EXPECT_EQ(segment.shard_offset, at) << "limit " << limit;
        at += segment.length;
        const ParameterSpec& parameter = layout->blocks()[shard.block].parameters[segment.parameter];
        for (int64_t i = 0; i < segment.length; ++i) {
          EXPECT_LT(segment.parameter_offset + i, NumElements(parameter.shape));
          EXPECT_TRUE(seen.emplace(parameter.name, segment.parameter_offset + i).second);
        }
      }
      EXPECT_EQ(at, shard.length);
    }
    EXPECT_EQ(seen.size(), 20U + 1U + 118U) << "limit " << limit;
    EXPECT_EQ(layout->total_bytes(), 139 * 4);
  }
}

TEST(ShardLayout, RefusesWhatCannotBeCut) {
  const auto error = [](std::vector<ParameterBlock> blocks, int64_t shard_bytes) {
    const absl::Status status = ShardLayout::Create(std::move(blocks), shard_bytes).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(error({Block("fc", {{2}})}, 3), HasSubstr("shard_bytes is 3"));
  EXPECT_THAT(error({Block("fc", {{2}})}, -4), HasSubstr("shard_bytes is -4"));
  EXPECT_THAT(error({Block("fc", {{2}}), Block("fc", {{2}})}, 64), HasSubstr("`fc.0` occurs twice"));
  EXPECT_THAT(error({Block("fc", {{2, 0}})}, 64), HasSubstr("[2,0]"));
  EXPECT_THAT(error({Block("fc", {{int64_t{1} << 40, int64_t{1} << 40}})}, 64), HasSubstr("`fc.0`"));
  EXPECT_THAT(error({Block("fc", {})}, 64), HasSubstr("`fc`"));
  EXPECT_THAT(error({Block("fc", {{1 << 21}})}, 4), HasSubstr("more than 1048576 shards"));
}

}  // namespace
}  // namespace tessera
