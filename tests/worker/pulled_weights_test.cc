#include "worker/pulled_weights.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
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
  EXPECT_EQ(weights.Install(1, kReplicas, INT64_MAX, 0, Values({1})).code(),
            absl::StatusCode::kFailedPrecondition);
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

// Weights in place: a peer's memory, of which parts come by reference.
class InPlace : public ::testing::Test {
 protected:
  InPlace() { std::iota(memory_->span().begin(), memory_->span().end(), 0.0F); }

  static std::unique_ptr<PulledWeights> Make(PulledWeights::Keep keep = PulledWeights::Keep::kInPlace) {
    auto weights = std::make_unique<PulledWeights>(MakeLayout(), std::vector<ReplicaRange>{kReplicas}, keep);
    for (int block : {0, 1}) weights->Expect(kGroup, block, 9);
    return weights;
  }

  // `length` floats from `offset` on, which count as held until they are dropped.
  TensorBytes Part(size_t offset, size_t length, bool lasting = true) {
    std::shared_ptr<void> owner(memory_->data(), [this](void*) { --held_; });
    ++held_;
    TensorBytes tensor;
    tensor.Append({std::move(owner),
                   {reinterpret_cast<const uint8_t*>(memory_->data() + offset), length * sizeof(float)},
                   lasting});
    return tensor;
  }

  static void Install(PulledWeights& weights, ShardId shard, Clock clock, const TensorBytes& tensor) {
    EXPECT_TRUE(weights.Install(shard, kReplicas, clock, clock, tensor).ok());
  }
  static std::vector<float> Block(PulledWeights& weights, int block, Clock clock) {
    const auto values = weights.Wait(kGroup, block, clock, Past());
    EXPECT_TRUE(values.ok()) << values.status();
    return values.ok() ? std::vector<float>(values->begin(), values->end()) : std::vector<float>();
  }

  const std::shared_ptr<TensorBuffer> memory_ = std::make_shared<TensorBuffer>(256);
  std::atomic<int> held_{0};
};

TEST_F(InPlace, ABlockWhoseShardsAdjoinIsReadWhereItLies) {
  for (const std::vector<ShardId>& order : {std::vector<ShardId>{0, 1}, {1, 0}}) {
    const auto weights = Make();
    for (const ShardId shard : order) Install(*weights, shard, 0, shard == 0 ? Part(16, 4) : Part(20, 1));
    const auto block = weights->Wait(kGroup, 0, 0, Past());
    ASSERT_TRUE(block.ok()) << block.status();
    EXPECT_EQ(block->data(), memory_->data() + 16);
    EXPECT_EQ(block->size(), 5U);
    EXPECT_EQ(weights->copied_bytes(), 0);
    EXPECT_EQ(held_, 2);
    EXPECT_EQ(weights->version(kGroup, 1, 0), 0);
  }
  EXPECT_EQ(held_, 0);
}

TEST_F(InPlace, HalfABlockIsNotTheBlock) {
  const auto weights = Make();
  Install(*weights, 0, 0, Part(16, 4));
  EXPECT_EQ(weights->Wait(kGroup, 0, 0, Past()).status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(weights->Has(kGroup, 0, 0));
  EXPECT_FALSE(weights->Has(kGroup, 1, 0));
}

TEST_F(InPlace, ShardsThatDoNotAdjoinAreCopiedAndNotHeld) {
  for (const std::vector<ShardId>& order : {std::vector<ShardId>{0, 1}, {1, 0}}) {
    const auto weights = Make();
    for (const ShardId shard : order) Install(*weights, shard, 0, shard == 0 ? Part(16, 4) : Part(36, 1));
    EXPECT_EQ(held_, 0);
    EXPECT_EQ(Block(*weights, 0, 0), (std::vector<float>{16, 17, 18, 19, 36}));
    EXPECT_EQ(weights->copied_bytes(), 20);
  }
}

TEST_F(InPlace, WhatCameAsBytesMakesItsBlockACopyAndNoOther) {
  for (const std::vector<ShardId>& order : {std::vector<ShardId>{0, 1}, {1, 0}}) {
    const auto weights = Make();
    for (const ShardId shard : order) Install(*weights, shard, 0, shard == 0 ? Part(16, 4) : Values({7}));
    Install(*weights, 2, 0, Part(32, 2));
    EXPECT_EQ(Block(*weights, 0, 0), (std::vector<float>{16, 17, 18, 19, 7}));
    EXPECT_EQ(Block(*weights, 1, 0), (std::vector<float>{32, 33}));
    EXPECT_EQ(weights->copied_bytes(), 20);
    EXPECT_EQ(held_, 1);
  }
}

TEST_F(InPlace, OnlyWhatMayBeHeldAndReadAsItLiesIs) {
  const auto in_two = [this] {
    TensorBytes tensor = Part(32, 1);
    tensor.Append(Part(33, 1).pieces().front());
    return tensor;
  };
  const auto with = [&](PulledWeights::Keep keep, const TensorBytes& tensor) {
    const auto weights = Make(keep);
    Install(*weights, 2, 0, tensor);
    EXPECT_EQ(Block(*weights, 1, 0).size(), 2U);
    return weights->copied_bytes();
  };
  EXPECT_EQ(with(PulledWeights::Keep::kInPlace, Part(32, 2)), 0);
  EXPECT_EQ(with(PulledWeights::Keep::kCopies, Part(32, 2)), 8);
  EXPECT_EQ(with(PulledWeights::Keep::kInPlace, Part(32, 2, /*lasting=*/false)), 8) << "a receive buffer";
  EXPECT_EQ(with(PulledWeights::Keep::kInPlace, Part(33, 2)), 8) << "a block begins on a line";
  EXPECT_EQ(with(PulledWeights::Keep::kInPlace, in_two()), 8);
}

TEST_F(InPlace, WhatIsHeldIsDroppedByItsReleaseAndNotBefore) {
  const auto weights = Make();
  Install(*weights, 2, 0, Part(16, 2));
  Install(*weights, 2, 1, Part(32, 2));
  EXPECT_EQ(Block(*weights, 1, 0), (std::vector<float>{16, 17}));
  EXPECT_EQ(held_, 2);
  weights->Release(kGroup, 0);
  EXPECT_EQ(held_, 1) << "the next minibatch's stay";
  EXPECT_EQ(Block(*weights, 1, 1), (std::vector<float>{32, 33}));
  const absl::Status released = weights->Wait(kGroup, 1, 0, Past()).status();
  EXPECT_EQ(released.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(std::string(released.message()).find("`fc` for step 0 were released"), std::string::npos)
      << released;
  weights->Release(kGroup, 1);
  EXPECT_EQ(held_, 0);
}

TEST_F(InPlace, RepeatedAndLateAnswersAreNotHeld) {
  const auto weights = Make();
  Install(*weights, 2, 0, Part(16, 2));
  Install(*weights, 2, 0, Part(32, 2));
  EXPECT_EQ(held_, 1);
  EXPECT_EQ(Block(*weights, 1, 0), (std::vector<float>{16, 17}));
  weights->Release(kGroup, 3);
  for (const Clock clock : {0, 1, 3}) Install(*weights, 2, clock, Part(32, 2));
  EXPECT_EQ(held_, 0);
  EXPECT_EQ(weights->copied_bytes(), 0);
}

TEST_F(InPlace, EachMinibatchIsPlacedAnew) {
  const auto weights = Make();
  for (Clock clock = 0; clock < 8; ++clock) {
    const bool adjoin = clock % 4 < 2;  // both generations, both ways
    Install(*weights, 0, clock, Part(16, 4));
    Install(*weights, 1, clock, adjoin ? Part(20, 1) : Part(36, 1));
    EXPECT_EQ(Block(*weights, 0, clock), (std::vector<float>{16, 17, 18, 19, adjoin ? 20.0F : 36.0F}));
    weights->Release(kGroup, clock);
    EXPECT_EQ(held_, 0);
  }
  EXPECT_EQ(weights->copied_bytes(), 4 * 20);
}

TEST_F(InPlace, WhatCameForAMinibatchThatIsJumpedOverIsDroppedAndNeverMixedIn) {
  const auto weights = Make();
  Install(*weights, 0, 1, Part(16, 4));
  ASSERT_TRUE(weights->Drop(1, kReplicas, 0, 3).ok());
  Install(*weights, 1, 3, Values({5}));
  EXPECT_EQ(held_, 0);
  EXPECT_EQ(weights->Wait(kGroup, 0, 3, Past()).status().code(), absl::StatusCode::kDeadlineExceeded);
  Install(*weights, 0, 3, Part(32, 4));
  EXPECT_EQ(Block(*weights, 0, 3), (std::vector<float>{32, 33, 34, 35, 5}));
  EXPECT_EQ(weights->copied_bytes(), 20);
}

TEST_F(InPlace, WrongLengthsAreRefusedAndNotHeld) {
  const auto weights = Make();
  EXPECT_EQ(weights->Install(1, kReplicas, 0, 0, Part(20, 2)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(weights->Install(0, kReplicas, 10, 0, Part(16, 4)).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(held_, 0);
}

TEST_F(InPlace, TwoServersInstallTheSameBlockAtOnce) {
  const auto weights = Make();
  for (Clock clock = 0; clock < 200; ++clock) {
    for (int block : {0, 1}) weights->Expect(kGroup, block, clock);
    std::thread other([&] { Install(*weights, 1, clock, Part(40, 1)); });
    Install(*weights, 0, clock, Part(16, 4));
    const auto block = weights->Wait(kGroup, 0, clock, Soon());
    ASSERT_TRUE(block.ok()) << block.status();
    EXPECT_EQ(std::vector<float>(block->begin(), block->end()), (std::vector<float>{16, 17, 18, 19, 40}));
    other.join();
    weights->Release(kGroup, clock);
    EXPECT_EQ(held_, 0);
  }
}

}  // namespace
}  // namespace tessera
