#include "worker/pulled_weights.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>
#include <vector>

#include "absl/time/clock.h"

namespace tessera {
namespace {

constexpr ReplicaRange kReplicas{4, 5};  // of one group, run here
constexpr int kGroup = 0;

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
  auto weights = std::make_unique<PulledWeights>(MakeLayout(), std::vector<ReplicaRange>{kReplicas});
  for (int block : {0, 1}) weights->Expect(kGroup, block, 2);
  return weights;
}

absl::Time Soon() { return absl::Now() + absl::Seconds(20); }
absl::Time Past() { return absl::InfinitePast(); }

TEST(PulledWeights, ABlockIsThereOnceAllItsShardsAre) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(0, kReplicas, 0, 0, Values({1, 2, 3, 4})).ok());
  const absl::Status early = weights.Wait(kGroup, 0, 0, Past()).status();
  EXPECT_EQ(early.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_NE(std::string(early.message()).find("`conv1` for step 0"), std::string::npos) << early;
  ASSERT_TRUE(weights.Install(1, kReplicas, 0, 0, Values({5})).ok());
  const auto block = weights.Wait(kGroup, 0, 0, Past());
  ASSERT_TRUE(block.ok());
  EXPECT_EQ(std::vector<float>(block->begin(), block->end()), (std::vector<float>{1, 2, 3, 4, 5}));
  EXPECT_EQ(weights.copied_bytes(), 20);
}

TEST(PulledWeights, TheNextGenerationInstallsBesideTheOneInUse) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(2, kReplicas, 0, 7, Values({1, 2})).ok());
  const absl::Span<const float> in_use = *weights.Wait(kGroup, 1, 0, Past());
  ASSERT_TRUE(weights.Install(2, kReplicas, 1, 8, Values({3, 4})).ok());
  EXPECT_EQ(in_use[0], 1);
  EXPECT_EQ((*weights.Wait(kGroup, 1, 1, Past()))[0], 3);
  EXPECT_EQ(weights.version(kGroup, 2, 0), 7);
  EXPECT_EQ(weights.version(kGroup, 2, 1), 8);
}

TEST(PulledWeights, ARepeatedAnswerChangesNothing) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(2, kReplicas, 0, 7, Values({1, 2})).ok());
  ASSERT_TRUE(weights.Install(2, kReplicas, 0, 7, Values({9, 9})).ok());
  EXPECT_EQ((*weights.Wait(kGroup, 1, 0, Past()))[0], 1);
  EXPECT_EQ(weights.copied_bytes(), 8);
}

TEST(PulledWeights, AnswersThatDoNotFitAreRefusedByName) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  EXPECT_EQ(weights.Install(9, kReplicas, 0, 0, Values({1})).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(weights.Install(-1, kReplicas, 0, 0, Values({1})).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status length = weights.Install(1, kReplicas, 0, 0, Values({1, 2}));
  EXPECT_EQ(length.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(length.message()).find("conv1"), std::string::npos) << length;
  EXPECT_EQ(weights.Install(1, kReplicas, -1, 0, Values({1})).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(weights.Install(1, kReplicas, 3, 0, Values({1})).code(), absl::StatusCode::kFailedPrecondition)
      << "it would overwrite the generation in use";
  EXPECT_EQ(weights.Install(1, kReplicas, INT64_MAX, 0, Values({1})).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(PulledWeights, AWaiterIsWokenByTheLastShardAndByAFailure) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  std::thread installer([&] { EXPECT_TRUE(weights.Install(2, kReplicas, 0, 0, Values({1, 2})).ok()); });
  EXPECT_TRUE(weights.Wait(kGroup, 1, 0, Soon()).ok());
  installer.join();
  std::thread breaker([&] { weights.Fail(absl::UnavailableError("lost server 1")); });
  EXPECT_EQ(weights.Wait(kGroup, 1, 1, Soon()).status().message(), "lost server 1");
  breaker.join();
  weights.Fail(absl::InternalError("later"));
  EXPECT_EQ(weights.Wait(kGroup, 1, 1, Soon()).status().message(), "lost server 1");
}

// Two groups of one replica each run here: 2 and 7.
class TwoGroups : public ::testing::Test {
 protected:
  TwoGroups() : weights_(MakeLayout(), {{2, 2}, {7, 7}}) {
    for (int group : {0, 1}) {
      for (int block : {0, 1}) weights_.Expect(group, block, 10);
    }
  }

  // All of the first layer, for minibatch `clock`.
  void InstallFirstBlock(ReplicaId replica, Clock clock, float value) {
    ASSERT_TRUE(weights_.Install(0, {replica, replica}, clock, clock, Values({value, 2, 3, 4})).ok());
    ASSERT_TRUE(weights_.Install(1, {replica, replica}, clock, clock, Values({5})).ok());
  }

  PulledWeights weights_;
};

TEST_F(TwoGroups, HaveWeightsOfTheirOwn) {
  InstallFirstBlock(2, 0, 10);
  InstallFirstBlock(7, 0, 20);
  EXPECT_EQ((*weights_.Wait(0, 0, 0, Past()))[0], 10);
  EXPECT_EQ((*weights_.Wait(1, 0, 0, Past()))[0], 20);
  EXPECT_TRUE(weights_.Has(0, 0, 0));
  EXPECT_FALSE(weights_.Has(0, 2, 0));
  EXPECT_FALSE(weights_.Has(0, 0, 1));
  EXPECT_EQ(weights_.Install(2, {3, 3}, 0, 0, Values({1, 2})).code(), absl::StatusCode::kInvalidArgument)
      << "replica 3 does not run here";
  EXPECT_EQ(weights_.Install(2, {2, 7}, 0, 0, Values({1, 2})).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(TwoGroups, TheReadableOneWithTheLowestClockRunsNext) {
  EXPECT_EQ(weights_.WaitForAny({0, 0}, Past()).status().code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_TRUE(weights_.Install(0, {7, 7}, 4, 4, Values({1, 2, 3, 4})).ok());
  EXPECT_EQ(weights_.WaitForAny({3, 4}, Past()).status().code(), absl::StatusCode::kDeadlineExceeded)
      << "half of the first block is not the block";
  ASSERT_TRUE(weights_.Install(1, {7, 7}, 4, 4, Values({5})).ok());
  EXPECT_EQ(*weights_.WaitForAny({3, 4}, Past()), 1) << "only the faster one can go on";
  InstallFirstBlock(2, 3, 1);
  EXPECT_EQ(*weights_.WaitForAny({3, 4}, Past()), 0) << "both can: the slower one goes first";
  EXPECT_EQ(*weights_.WaitForAny({PulledWeights::kNoClock, 4}, Past()), 1) << "the other has finished";
  InstallFirstBlock(2, 4, 1);
  EXPECT_EQ(*weights_.WaitForAny({4, 4}, Past()), 0) << "alike: the first";
}

TEST_F(TwoGroups, AWaiterForAnyIsWokenByEither) {
  std::thread installer([&] { InstallFirstBlock(7, 1, 1); });
  EXPECT_EQ(*weights_.WaitForAny({1, 1}, Soon()), 1);
  installer.join();
}

TEST(PulledWeights, ADroppedPushIsAnsweredByTheRoundToJumpTo) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(0, kReplicas, 1, 1, Values({1, 2, 3, 4})).ok());
  ASSERT_TRUE(weights.Drop(1, kReplicas, 0, 3).ok());
  EXPECT_EQ(weights.WaitForAnswers(kGroup, 1, Past()).status().code(), absl::StatusCode::kDeadlineExceeded)
      << "shard 2 has not answered";
  ASSERT_TRUE(weights.Drop(2, kReplicas, 0, 2).ok());
  EXPECT_EQ(*weights.WaitForAnswers(kGroup, 1, Past()), 3) << "the furthest round";
  EXPECT_TRUE(weights.WasDropped(kGroup, 1));
  EXPECT_FALSE(weights.WasDropped(kGroup, 2)) << "a drop is that of one push";
}

TEST(PulledWeights, WithoutADropTheNextRoundFollows) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  PulledWeights& weights = *owned;
  ASSERT_TRUE(weights.Install(0, kReplicas, 1, 1, Values({1, 2, 3, 4})).ok());
  ASSERT_TRUE(weights.Install(1, kReplicas, 1, 1, Values({5})).ok());
  ASSERT_TRUE(weights.Install(2, kReplicas, 1, 1, Values({1, 2})).ok());
  EXPECT_EQ(*weights.WaitForAnswers(kGroup, 1, Past()), 1);
  EXPECT_FALSE(weights.WasDropped(kGroup, 1));
}

TEST(PulledWeights, DropsThatCannotBeAreRefused) {
  const std::unique_ptr<PulledWeights> owned = MakeWeights();
  EXPECT_EQ(owned->Drop(9, kReplicas, 0, 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(owned->Drop(0, {0, 0}, 0, 1).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(owned->Drop(0, kReplicas, 4, 4).code(), absl::StatusCode::kInvalidArgument)
      << "a round that is still open dropped nothing";
  EXPECT_EQ(owned->Drop(0, kReplicas, 3, 9).code(), absl::StatusCode::kFailedPrecondition)
      << "minibatch 3 has not begun";
}

}  // namespace
}  // namespace tessera
