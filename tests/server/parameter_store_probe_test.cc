// What a store tells of pushes, and of where replicas go on; and reads that nobody waits for any more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/server/test_store.h"

namespace tessera {
namespace {

PushState Probe(const ParameterStore& store, ReplicaRange replicas, Clock clock) {
  const absl::StatusOr<PushState> state = store.Probe({kWeights, replicas, clock, 0});
  EXPECT_TRUE(state.ok()) << state.status();
  return state.value_or(PushState::kUnknown);
}

TEST(ParameterStoreProbe, TellsWhatBecameOfAPushAndChangesNothing) {
  const auto store = SyncStore(2);
  EXPECT_EQ(Probe(*store, {0, 0}, 0), PushState::kUnknown);
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(Probe(*store, {0, 0}, 0), PushState::kHeld);
  EXPECT_EQ(Probe(*store, {0, 1}, 0), PushState::kUnknown) << "not all of it";
  EXPECT_EQ(Probe(*store, {1, 1}, 0), PushState::kUnknown) << "which would complete the round";
  EXPECT_EQ(store->VersionRange().second, 0);
  ASSERT_TRUE(Push(*store, {1, 1}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(Probe(*store, {0, 0}, 0), PushState::kApplied);
  EXPECT_EQ(Probe(*store, {0, 1}, 0), PushState::kApplied);
  EXPECT_EQ(Probe(*store, {0, 0}, 1), PushState::kUnknown);
}

TEST(ParameterStoreProbe, TellsOfDroppedPushes) {
  const auto store = MakeStore(StoreOptions({.replicas = 3, .group = 3, .drop_stragglers = 1}));
  ASSERT_TRUE(Push(*store, {0, 1}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(Probe(*store, {2, 2}, 0), PushState::kDropped);
}

TEST(ParameterStoreProbe, RefusesWhatThePushWouldBeRefusedFor) {
  const auto store = SyncStore(2);
  EXPECT_EQ(store->Probe({9, {0, 0}, 0, 0}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store->Probe({kWeights, {5, 5}, 0, 0}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store->Probe({kWeights, {0, 0}, 3, 0}).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(ParameterStoreNextClocks, AreTheRoundsThatAreOpenSomewhere) {
  const auto store = MakeStore(StoreOptions({.replicas = 2, .group = 1, .staleness = 9}));
  EXPECT_EQ(store->NextClocks(), (std::vector<ClockRange>{{0, 0}, {0, 0}}));
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());  // on one of two shards
  ASSERT_TRUE(Push(*store, {0, 0}, 1, Floats(kLength, 1)).ok());
  EXPECT_EQ(store->NextClocks(), (std::vector<ClockRange>{{0, 2}, {0, 0}}));
}

TEST(ParameterStoreNextClocks, DoNotCountWhatIsHeldOfAnOpenRound) {
  const auto store = MakeStore(StoreOptions({.replicas = 2, .group = 2}));
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(store->NextClocks(), (std::vector<ClockRange>{{0, 0}, {0, 0}}));
}

TEST(ParameterStoreReaders, AReaderWaitsOnceForAReplicaAndItsNewestReadCounts) {
  const auto store = SyncStore(2);
  Reader first;
  Reader again;
  Reader of_another;
  Reader of_another_replica;
  EXPECT_TRUE(store->Read(kWeights, 0, 1, first.Callback(), ReadRule::kPolicy, /*reader=*/7));
  EXPECT_TRUE(store->Read(kWeights, 0, 1, of_another.Callback(), ReadRule::kPolicy, /*reader=*/8));
  EXPECT_TRUE(store->Read(kWeights, 1, 1, of_another_replica.Callback(), ReadRule::kPolicy, /*reader=*/7));
  EXPECT_TRUE(store->Read(kWeights, 0, 1, again.Callback(), ReadRule::kPolicy, /*reader=*/7));
  EXPECT_EQ(first.answers, 1);
  EXPECT_EQ(first.answer.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(store->parked_reads(), 3u);
  ASSERT_TRUE(Push(*store, {0, 1}, 0, Floats(kLength, 1)).ok());
  for (const Reader* reader : {&again, &of_another, &of_another_replica}) {
    EXPECT_EQ(reader->answers, 1);
    EXPECT_TRUE(reader->answer.ok()) << reader->answer.status();
  }
  EXPECT_EQ(first.answers, 1);
  EXPECT_FALSE(store->Read(kWeights, 0, 1, first.Callback())) << "answered at once";
}

TEST(ParameterStoreReaders, AReaderThatHasGoneHoldsNoPlace) {
  const auto store = SyncStore(2);
  Reader gone;
  Reader stays;
  store->Read(kWeights, 0, 1, gone.Callback(), ReadRule::kPolicy, /*reader=*/7);
  store->Read(kStatistics, 0, 1, gone.Callback(), ReadRule::kPolicy, /*reader=*/7);
  store->Read(kWeights, 0, 1, stays.Callback(), ReadRule::kPolicy, /*reader=*/8);
  store->CancelReads(7);
  EXPECT_EQ(gone.answers, 2);
  EXPECT_EQ(gone.answer.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(store->parked_reads(), 1u);
  ASSERT_TRUE(Push(*store, {0, 1}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(gone.answers, 2);
  EXPECT_TRUE(stays.answer.ok());
}

}  // namespace
}  // namespace tessera
