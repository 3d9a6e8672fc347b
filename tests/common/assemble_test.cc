#include "common/assemble.h"

#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ShardLayout TwoParameters() {
  ParameterBlock block{"fc", ParameterKind::kWeight, {{"fc.weight", {2, 3}}, {"fc.bias", {2}}}};
  return *ShardLayout::Create({block}, 3 * sizeof(float));
}

// Shard values that count through the block: 0, 1, 2, ...
std::vector<SharedTensor> Counting(const ShardLayout& layout) {
  std::vector<SharedTensor> shards;
  for (const Shard& shard : layout.shards()) {
    auto values = std::make_shared<TensorBuffer>(static_cast<size_t>(shard.length));
    std::iota(values->span().begin(), values->span().end(), static_cast<float>(shard.offset));
    shards.push_back(values);
  }
  return shards;
}

TEST(AssembleTensors, PutsPiecesBackUnderTheirNames) {
  const ShardLayout layout = TwoParameters();
  const auto tensors = AssembleTensors(layout, Counting(layout));
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  ASSERT_EQ(tensors->size(), 2U);
  EXPECT_THAT(tensors->at("fc.weight").shape, ElementsAre(2, 3));
  EXPECT_THAT(tensors->at("fc.weight").values, ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(tensors->at("fc.bias").values, ElementsAre(6, 7));
}

TEST(AssembleTensors, NamesAMissingOrWrongShard) {
  const ShardLayout layout = TwoParameters();
  std::vector<SharedTensor> shards = Counting(layout);
  shards[1] = nullptr;
  EXPECT_THAT(std::string(AssembleTensors(layout, shards).status().message()),
              HasSubstr("fc [3,6) is missing"));
  shards[1] = std::make_shared<TensorBuffer>(4);
  EXPECT_THAT(std::string(AssembleTensors(layout, shards).status().message()), HasSubstr("fc [3,6) has 4"));
  shards.pop_back();
  EXPECT_EQ(AssembleTensors(layout, shards).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera
