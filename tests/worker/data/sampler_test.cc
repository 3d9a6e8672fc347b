#include "worker/data/sampler.h"

#include <set>

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

std::vector<uint32_t> Copy(absl::Span<const uint32_t> span) { return {span.begin(), span.end()}; }

TEST(Sampler, EpochIsTheWholeStepsThatFit) {
  EXPECT_EQ(Sampler::Create(1, 60'000, 4, 64)->steps_per_epoch(), 234);
  EXPECT_EQ(Sampler::Create(1, 8, 2, 4)->steps_per_epoch(), 1);
  EXPECT_EQ(Sampler::Create(1, 15, 2, 4)->steps_per_epoch(), 1);
}

TEST(Sampler, NoSampleTwiceInAnEpoch) {
  Sampler sampler = *Sampler::Create(1, 100, 3, 4);
  std::set<uint32_t> seen;
  for (Clock clock = 0; clock < sampler.steps_per_epoch(); ++clock) {
    for (ReplicaId replica = 0; replica < 3; ++replica) {
      for (const uint32_t index : sampler.Minibatch(replica, clock)) {
        EXPECT_LT(index, 100U);
        EXPECT_TRUE(seen.insert(index).second);
      }
    }
  }
  EXPECT_EQ(seen.size(), 96U);
}

TEST(Sampler, StepsAreConsecutiveSlicesCutByReplica) {
  Sampler sampler = *Sampler::Create(9, 50, 2, 5);
  const std::vector<uint32_t> order = Permutation(50, RandomStream(9, RandomPurpose::kSampleOrder, 1));
  for (Clock step = 0; step < 5; ++step) {
    for (ReplicaId replica = 0; replica < 2; ++replica) {
      const auto from = order.begin() + step * 10 + replica * 5;
      EXPECT_EQ(Copy(sampler.Minibatch(replica, 5 + step)), std::vector<uint32_t>(from, from + 5));
    }
  }
}

TEST(Sampler, AnyOrderOfCallsGivesTheSameMinibatches) {
  Sampler forward = *Sampler::Create(1, 20, 2, 4);
  std::vector<std::vector<uint32_t>> expected;
  for (Clock clock = 0; clock < 10; ++clock) expected.push_back(Copy(forward.Minibatch(1, clock)));
  Sampler backward = *Sampler::Create(1, 20, 2, 4);
  for (Clock clock = 9; clock >= 0; --clock) EXPECT_EQ(Copy(backward.Minibatch(1, clock)), expected[clock]);
}

TEST(Sampler, OrderChangesWithEpochAndSeed) {
  Sampler one = *Sampler::Create(1, 1000, 1, 100);
  Sampler two = *Sampler::Create(2, 1000, 1, 100);
  const std::vector<uint32_t> first = Copy(one.Minibatch(0, 0));
  EXPECT_NE(first, Copy(one.Minibatch(0, 10)));
  EXPECT_NE(first, Copy(two.Minibatch(0, 0)));
}

// What a step sees does not depend on how many replicas share it: their slices join to the same whole.
TEST(Sampler, ReplicasShareOneStepOfSamples) {
  Sampler whole = *Sampler::Create(3, 64, 1, 16);
  Sampler shared = *Sampler::Create(3, 64, 4, 4);
  for (Clock clock = 0; clock < 8; ++clock) {
    std::vector<uint32_t> joined;
    for (ReplicaId replica = 0; replica < 4; ++replica) {
      const absl::Span<const uint32_t> part = shared.Minibatch(replica, clock);
      joined.insert(joined.end(), part.begin(), part.end());
    }
    EXPECT_EQ(joined, Copy(whole.Minibatch(0, clock)));
  }
}

TEST(Sampler, RefusesFewerSamplesThanOneStep) {
  const absl::Status status = Sampler::Create(1, 255, 4, 64).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("255 samples"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("256"));
  EXPECT_TRUE(Sampler::Create(1, 256, 4, 64).ok());
  EXPECT_FALSE(Sampler::Create(1, 10, 0, 1).ok());
  EXPECT_FALSE(Sampler::Create(1, 10, 1, -1).ok());
  EXPECT_FALSE(Sampler::Create(1, 10, INT32_MAX, INT32_MAX).ok());
}

}  // namespace
}  // namespace tessera
