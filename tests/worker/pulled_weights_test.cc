#include "worker/pulled_weights.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"

namespace tessera {
namespace {

// One layer of five elements in two shards (4 and 1), and one of two elements.
ShardLayout MakeLayout() {
  ParameterBlock first{"conv1", ParameterKind::kWeight, {{"conv1.weight", {5}, ParameterKind::kWeight, {}}}};
  ParameterBlock second{"fc", ParameterKind::kWeight, {{"fc.weight", {2}, ParameterKind::kWeight, {}}}};
  return *ShardLayout::Create({first, second}, 16);
}

TensorBytes Values(std::vector<float> values) {
  auto tensor = std::make_shared<TensorBuffer>(values.size());
  std::copy(values.begin(), values.end(), tensor->data());
  return TensorBytes(std::move(tensor));
}

// Weights of which anything up to clock 2 has been asked for.
std::unique_ptr<PulledWeights> MakeWeights() {
  auto weights = std::make_unique<PulledWeights>(MakeLayout());
  for (int block : {0, 1}) weights->Expect(block, 2);
  return weights;
}

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }
absl::Time Past() { return absl::InfinitePast(); }

TEST(PulledWeights, ABlockIsThereOnceAllItsShardsAre) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(0, 0, 0, Values({1, 2, 3, 4})).ok());
  const absl::Status early = weights.Wait(0, 0, Past()).status();
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(std::string(early.message()).find("`conv1` for step 0"), std::string::npos) << early;
  ASSERT_TRUE(weights.Install(1, 0, 0, Values({5})).ok());
  const auto block = weights.Wait(0, 0, Past());
  ASSERT_TRUE(block.ok());
  EXPECT_EQ(std::vector<float>(block->begin(), block->end()), (std::vector<float>{1, 2, 3, 4, 5}));
  EXPECT_EQ(weights.copied_bytes(), 20);
}

TEST(PulledWeights, TheNextGenerationInstallsBesideTheOneInUse) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(2, 0, 7, Values({1, 2})).ok());
  const absl::Span<const float> in_use = *weights.Wait(1, 0, Past());
  ASSERT_TRUE(weights.Install(2, 1, 8, Values({3, 4})).ok());
  EXPECT_EQ(in_use[0], 1);
  EXPECT_EQ((*weights.Wait(1, 1, Past()))[0], 3);
  EXPECT_EQ(weights.version(2, 0), 7);
  EXPECT_EQ(weights.version(2, 1), 8);
}

TEST(PulledWeights, ARepeatedAnswerChangesNothing) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(2, 0, 7, Values({1, 2})).ok());
  ASSERT_TRUE(weights.Install(2, 0, 7, Values({9, 9})).ok());
  EXPECT_EQ((*weights.Wait(1, 0, Past()))[0], 1);
  EXPECT_EQ(weights.copied_bytes(), 8);
}

TEST(PulledWeights, AnswersThatDoNotFitAreRefusedByName) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  EXPECT_EQ(weights.Install(9, 0, 0, Values({1})).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(weights.Install(-1, 0, 0, Values({1})).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status length = weights.Install(1, 0, 0, Values({1, 2}));
  EXPECT_EQ(length.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(length.message()).find("conv1"), std::string::npos) << length;
  EXPECT_EQ(weights.Install(1, -1, 0, Values({1})).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(weights.Install(1, 3, 0, Values({1})).code(), absl::StatusCode::kFailedPrecondition)
      << "it would overwrite the generation in use";
  EXPECT_EQ(weights.Install(1, INT64_MAX, 0, Values({1})).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PulledWeights, AWaiterIsWokenByTheLastShardAndByAFailure) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  std::thread installer([&] { EXPECT_TRUE(weights.Install(2, 0, 0, Values({1, 2})).ok()); });
  EXPECT_TRUE(weights.Wait(1, 0, Soon()).ok());
  installer.join();
  std::thread breaker([&] { weights.Fail(absl::UnavailableError("lost server 1")); });
  EXPECT_EQ(weights.Wait(1, 1, Soon()).status().message(), "lost server 1");
  breaker.join();
  weights.Fail(absl::InternalError("later"));
  EXPECT_EQ(weights.Wait(1, 1, Soon()).status().message(), "lost server 1");
}

}  // namespace
}  // namespace tessera
