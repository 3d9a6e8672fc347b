#include "worker/outstanding_requests.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace tessera {
namespace {

constexpr ShardId kShard = 0;
const absl::Time kStart = absl::UnixEpoch();

// One shard, replicas 0..2 of one group: two nodes of a tree of four.
class OutstandingRequestsTest : public testing::Test {
 protected:
  std::weak_ptr<const TensorBuffer> Push(Clock clock, ReplicaRange replicas, bool wants_weights) {
    auto gradient = std::make_shared<TensorBuffer>(4);
    std::weak_ptr<const TensorBuffer> kept = gradient;
    requests_.AddPush(0, kShard, clock, {replicas, clock, wants_weights, false, std::move(gradient)}, kStart);
    return kept;
  }
  std::vector<ExchangeMessage> Due(absl::Duration after) {
    std::vector<ExchangeMessage> messages;
    requests_.TakeDue(kShard, kStart + after, &messages, &again_);
    return messages;
  }

  const ShardLayout layout_ = *ShardLayout::Create(
      {{"a", ParameterKind::kWeight, {{"a.weight", {1, 4}, ParameterKind::kWeight, {}}}}}, 1 << 20);
  OutstandingRequests requests_{layout_, {{0, 2}}, {absl::Milliseconds(100), absl::Milliseconds(400)}};
  int64_t again_ = 0;
};

TEST_F(OutstandingRequestsTest, AsksAboutEveryPushOfTheMinibatchWhenTheWaitIsOver) {
  Push(5, {0, 1}, /*wants_weights=*/false);
  Push(5, {2, 2}, /*wants_weights=*/true);
  EXPECT_TRUE(Due(absl::Milliseconds(70)).empty());
  const std::vector<ExchangeMessage> due = Due(absl::Milliseconds(130));
  ASSERT_EQ(due.size(), 2U);
  for (const ExchangeMessage& message : due) {
    EXPECT_TRUE(message.probe);
    EXPECT_EQ(message.clock, 5);
  }
  EXPECT_EQ(due[0].replicas, (ReplicaRange{0, 1}));
  EXPECT_TRUE(due[1].wants_weights);
  EXPECT_EQ(again_, 0);  // questions
}

TEST_F(OutstandingRequestsTest, WaitsTwiceAsLongEachTimeUpToTheLongest) {
  requests_.AddRead(0, kShard, 3, /*settled=*/false, kStart);
  absl::Duration at;
  for (int expected_ms : {100, 200, 400, 400, 400}) {
    const absl::Duration wait = requests_.NextDue(kShard) - (kStart + at);
    EXPECT_GE(wait, absl::Milliseconds(expected_ms) * 0.79);
    EXPECT_LE(wait, absl::Milliseconds(expected_ms) * 1.21);
    at += wait;
    ASSERT_EQ(Due(at).size(), 1U);
  }
  EXPECT_EQ(again_, 5);
}

// A lost message costs about what an answer takes, and not the wait that is right for a slow cluster.
TEST_F(OutstandingRequestsTest, AsksSoonerWhereAnswersComeSooner) {
  for (Clock clock = 0; clock < 50; ++clock) {
    Push(clock, {0, 1}, /*wants_weights=*/true);
    requests_.OnWeights(0, kShard, clock + 1, kStart + absl::Milliseconds(10));
  }
  Push(50, {0, 1}, /*wants_weights=*/true);
  EXPECT_TRUE(Due(absl::Milliseconds(30)).empty());
  EXPECT_EQ(Due(absl::Milliseconds(50)).size(), 1U);
  // The answer to what was asked about tells nothing of how long answers take.
  requests_.OnWeights(0, kShard, 51, kStart + absl::Hours(1));
  Push(51, {0, 1}, /*wants_weights=*/true);
  EXPECT_EQ(Due(absl::Milliseconds(50)).size(), 1U);
  requests_.OnWeights(0, kShard, 52, kStart);
  requests_.AddRead(0, kShard, 53, /*settled=*/false, kStart);
  EXPECT_TRUE(Due(absl::Milliseconds(70)).empty()) << "to read again costs a tensor";
}

TEST_F(OutstandingRequestsTest, OnlyTheUnknownPushGoesAgain) {
  Push(5, {0, 1}, /*wants_weights=*/false);
  Push(5, {2, 2}, /*wants_weights=*/true);
  requests_.OnUnknown(0, kShard, {0, 1}, 4);  // of a minibatch that is over
  EXPECT_TRUE(Due(absl::ZeroDuration()).empty());
  requests_.OnUnknown(0, kShard, {0, 1}, 5);
  const std::vector<ExchangeMessage> again = Due(absl::ZeroDuration());
  ASSERT_EQ(again.size(), 1U);
  EXPECT_EQ(again[0].replicas, (ReplicaRange{0, 1}));
  EXPECT_EQ(again[0].tensor.size_bytes(), 16U);
  EXPECT_TRUE(Due(absl::ZeroDuration()).empty());  // once
}

TEST_F(OutstandingRequestsTest, LetsGoOfGradientsWithTheWeightsOrTheDropThatAnswersThem) {
  const auto part = Push(5, {0, 1}, /*wants_weights=*/false), last = Push(5, {2, 2}, /*wants_weights=*/true);
  requests_.OnWeights(0, kShard, 5, kStart);  // what they were computed on
  EXPECT_FALSE(part.expired());
  requests_.OnWeights(0, kShard, 6, kStart);
  EXPECT_TRUE(part.expired() && last.expired());
  const auto dropped = Push(6, {0, 1}, /*wants_weights=*/false);
  requests_.OnDropped(0, kShard, 5);
  EXPECT_FALSE(dropped.expired());
  requests_.OnDropped(0, kShard, 6);
  EXPECT_TRUE(dropped.expired());
  requests_.SendAgain(kShard);
  EXPECT_TRUE(Due(absl::Hours(1)).empty());
  EXPECT_EQ(requests_.NextDue(kShard), absl::InfiniteFuture());
}

}  // namespace
}  // namespace tessera
