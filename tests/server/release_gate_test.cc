#include "server/release_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

namespace tessera {
namespace {

constexpr NodeId kB = 4, kC = 5;

// One group of one replica; gates begin at version 2.
ReleaseGate Gate() {
  ConsistencyPolicy policy = ConsistencyPolicy::Create({.replicas = 1, .group = 1}).value();
  for (Clock clock = 0; clock < 2; ++clock) EXPECT_TRUE(policy.OnPush({0, 0}, clock).ok());
  return {std::move(policy), {2, nullptr}};
}

ReleaseGate::Applied Round(Version made, bool saved = false) {
  ReleaseGate::Applied applied{{made, nullptr}, 0, made - 1, {{0, 0}}, std::nullopt};
  if (saved) applied.snapshot = ShardSnapshot{.version = made};
  return applied;
}

// The newest version that may be read; -1: none.
Version Newest(const ReleaseGate& gate) {
  if (!gate.open()) return -1;
  EXPECT_EQ(gate.policy().GroupClock(0), gate.newest().version);
  return gate.newest().version;
}

bool Release(ReleaseGate& gate) {
  std::vector<ShardSnapshot> snapshots;
  return gate.Release(&snapshots);
}

TEST(ReleaseGate, NothingIsReadBeforeEveryBackupHasWhatMayHaveBeenReleased) {
  ReleaseGate gate = Gate();
  gate.SetBackups({kB, kC}, {});
  EXPECT_FALSE(Release(gate));
  gate.OnHas(kB, 2);
  EXPECT_FALSE(Release(gate));
  gate.OnHas(kC, 1);
  EXPECT_FALSE(Release(gate));
  EXPECT_EQ(Newest(gate), -1);
  gate.OnHas(kC, 2);
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 2);
}

TEST(ReleaseGate, RoundIsReleasedWhenTheLastBackupHasIt) {
  ReleaseGate gate = Gate();
  gate.SetBackups({kB, kC}, {});
  gate.OnHas(kB, 2);
  gate.OnHas(kC, 2);
  Release(gate);
  for (Version made = 3; made <= 5; ++made) gate.Add(Round(made));
  EXPECT_FALSE(Release(gate));
  gate.OnHas(kB, 5);
  EXPECT_FALSE(Release(gate));
  gate.OnHas(kC, 4);
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 4);
  EXPECT_EQ(gate.waiting(), 1u);
  gate.OnHas(kC, 3);  // an answer that comes late
  EXPECT_FALSE(Release(gate));
  EXPECT_EQ(Newest(gate), 4);
  gate.OnHas(kC, 5);
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 5);
}

TEST(ReleaseGate, WhatIsSavedOfARoundIsGivenWithItsRelease) {
  ReleaseGate gate = Gate();
  gate.SetBackups({kB}, {});
  gate.OnHas(kB, 2);
  gate.Add(Round(3, true));
  gate.Add(Round(4));
  std::vector<ShardSnapshot> snapshots;
  gate.Release(&snapshots);
  EXPECT_TRUE(snapshots.empty());
  gate.OnHas(kB, 4);
  gate.Release(&snapshots);
  ASSERT_EQ(snapshots.size(), 1u);
  EXPECT_EQ(snapshots[0].version, 3);
}

TEST(ReleaseGate, WithoutBackupsAllIsReleasedAtOnce) {
  ReleaseGate gate = Gate();
  gate.SetBackups({}, {kB});
  EXPECT_TRUE(Release(gate));
  gate.Add(Round(3));
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 3);
}

TEST(ReleaseGate, BackupThatTheNextMapDoesNotNameIsNotWaitedFor) {
  ReleaseGate gate = Gate();
  gate.SetBackups({kB, kC}, {});
  gate.OnHas(kB, 2);
  gate.OnHas(kC, 2);
  gate.Add(Round(3));
  gate.OnHas(kB, 3);
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 2);
  gate.SetBackups({kB}, {});
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 3);
}

TEST(ReleaseGate, ClosesForABackupOfWhichNothingIsKnown) {
  ReleaseGate gate = Gate();
  gate.SetBackups({kB}, {});
  gate.OnHas(kB, 2);
  Release(gate);
  gate.SetBackups({kB, kC}, {});
  EXPECT_EQ(Newest(gate), -1);
  gate.OnHas(kC, 2);
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 2);
}

TEST(ReleaseGate, WhoHasJoinedIsWaitedForBeforeAndAfterTheMapSaysSo) {
  ReleaseGate gate = Gate();
  gate.SetBackups({}, {kB});
  Release(gate);
  EXPECT_FALSE(gate.Join(kC, 2)) << "it is nobody of this map";
  EXPECT_TRUE(gate.Join(kB, 2));
  gate.Add(Round(3));
  Release(gate);
  EXPECT_EQ(Newest(gate), 2);
  gate.SetBackups({}, {kB});  // another change of the map
  Release(gate);
  EXPECT_EQ(Newest(gate), 2);
  gate.SetBackups({kB}, {});
  Release(gate);
  EXPECT_EQ(Newest(gate), 2);
  gate.OnHas(kB, 3);
  Release(gate);
  EXPECT_EQ(Newest(gate), 3);
}

// Else one that is always a little late would never be a backup.
TEST(ReleaseGate, WhoJoinsLateIsWaitedForUntilItHasWhatWasReleasedWithoutIt) {
  ReleaseGate gate = Gate();
  gate.SetBackups({}, {kB});
  gate.Add(Round(3));
  Release(gate);
  EXPECT_FALSE(gate.Join(kB, 2));
  gate.Add(Round(4));
  EXPECT_FALSE(Release(gate));
  EXPECT_EQ(Newest(gate), 3) << "what was released stays so";
  EXPECT_TRUE(gate.Join(kB, 3));
  EXPECT_FALSE(Release(gate));
  gate.OnHas(kB, 4);
  EXPECT_TRUE(Release(gate));
  EXPECT_EQ(Newest(gate), 4);
}

TEST(ReleaseGate, WhoIsNoBackupChangesNothing) {
  ReleaseGate gate = Gate();
  gate.SetBackups({kB}, {kC});
  gate.OnHas(kC, 2);
  EXPECT_FALSE(Release(gate));
  gate.OnHas(kB, 2);
  EXPECT_TRUE(Release(gate));
}

}  // namespace
}  // namespace tessera
