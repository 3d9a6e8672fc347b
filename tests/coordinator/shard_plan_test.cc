#include "coordinator/shard_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

ShardLayout LayoutOf(const std::vector<int64_t>& elements) {
  std::vector<ParameterBlock> blocks;
  for (size_t i = 0; i < elements.size(); ++i) {
    const std::string layer = absl::StrCat("layer", i);
    blocks.push_back({layer, ParameterKind::kWeight, {{.name = layer + ".weight", .shape = {elements[i]}}}});
  }
  return *ShardLayout::Create(std::move(blocks), 1 << 20);
}

ShardPlan PlanOf(const std::vector<int64_t>& elements, int32_t backups, int32_t servers) {
  ShardPlan plan(LayoutOf(elements), backups);
  for (int32_t server = 0; server < servers; ++server) plan.Add(server);
  plan.Place();
  return plan;
}

// Every copy that is under way arrives, and every server works by the plan, until there is nothing to do.
// Returns the steps, each as far as it goes.
int Settle(ShardPlan* plan, size_t shards) {
  constexpr int kMost = 10000;
  for (int step = 0; step < kMost; ++step) {
    bool busy = false;
    while (plan->Advance()) busy = true;
    for (size_t shard = 0; shard < shards; ++shard) {
      const auto id = static_cast<ShardId>(shard);
      for (const int32_t server : std::vector<int32_t>(plan->holders(id).copies)) {
        EXPECT_TRUE(plan->OnCopied(id, server));
        busy = true;
      }
    }
    for (const int32_t server : plan->servers()) busy |= plan->OnAdopted(server);
    if (!busy) return step;
  }
  ADD_FAILURE() << "it does not end";
  return kMost;
}

TEST(ShardPlan, PlacesPrimariesAndBackupsOnDifferentServersAndBalancesTheBytesOfBoth) {
  const ShardPlan plan = PlanOf({40, 30, 20, 10}, 1, 2);
  EXPECT_EQ(plan.holders(0), (ShardPlan::Holders{.primary = 0, .backups = {1}}));
  EXPECT_EQ(plan.holders(1), (ShardPlan::Holders{.primary = 1, .backups = {0}}));
  EXPECT_EQ(plan.primary_bytes(0), plan.primary_bytes(1));
  EXPECT_EQ(plan.held_bytes(0), plan.held_bytes(1));
}

TEST(ShardPlan, HasAsManyBackupsAsThereAreOtherServers) {
  EXPECT_THAT(PlanOf({8}, 3, 1).holders(0).backups, IsEmpty());
  EXPECT_THAT(PlanOf({8}, 3, 3).holders(0).backups, ElementsAre(1, 2));
}

TEST(ShardPlan, ABackupTakesOverAndIsReplaced) {
  ShardPlan plan = PlanOf({40, 30}, 1, 3);
  ASSERT_EQ(plan.holders(0).primary, 0);
  const int32_t heir = plan.holders(0).backups.front();
  const ShardPlan::Losses losses = plan.Remove(0);
  EXPECT_THAT(losses.taken_over, ElementsAre(0));
  EXPECT_THAT(losses.lost, IsEmpty());
  EXPECT_EQ(plan.holders(0).primary, heir);
  EXPECT_TRUE(plan.Advance());
  EXPECT_EQ(plan.holders(0).copies.size(), 1U);
  Settle(&plan, 2);
  EXPECT_EQ(plan.holders(0).backups.size(), 1U);
}

TEST(ShardPlan, ACopyThatIsNotThereYetDoesNotTakeOver) {
  ShardPlan plan = PlanOf({40}, 1, 1);
  plan.Add(7);
  ASSERT_TRUE(plan.Advance());
  ASSERT_THAT(plan.holders(0).copies, ElementsAre(7));
  EXPECT_THAT(plan.Remove(0).lost, ElementsAre(0));
  EXPECT_EQ(plan.holders(0), ShardPlan::Holders());
  EXPECT_FALSE(plan.OnCopied(0, 7)) << "there was nobody who could complete it";
}

TEST(ShardPlan, AFreshBackupDoesNotTakeOver) {
  ShardPlan plan = PlanOf({40}, 1, 1);
  plan.Add(7);
  ASSERT_TRUE(plan.Advance());
  ASSERT_TRUE(plan.OnCopied(0, 7));
  EXPECT_FALSE(plan.OnAdopted(7)) << "that is for the primary to say";
  ShardPlan lost = plan;
  EXPECT_THAT(lost.Remove(0).lost, ElementsAre(0));
  EXPECT_EQ(lost.held_bytes(7), 0);
  ASSERT_TRUE(plan.OnAdopted(0));
  EXPECT_FALSE(plan.OnAdopted(0));
  EXPECT_THAT(plan.Remove(0).taken_over, ElementsAre(0));
  EXPECT_EQ(plan.holders(0), (ShardPlan::Holders{.primary = 7}));
}

TEST(ShardPlan, AFreshBackupIsACopyAgainWhereAnotherTookOver) {
  ShardPlan plan = PlanOf({40}, 2, 2);
  plan.Add(2);
  ASSERT_TRUE(plan.Advance());
  ASSERT_TRUE(plan.OnCopied(0, 2));
  ASSERT_THAT(plan.holders(0).backups, ElementsAre(1, 2));
  EXPECT_THAT(plan.Remove(0).taken_over, ElementsAre(0));
  EXPECT_EQ(plan.holders(0), (ShardPlan::Holders{.primary = 1, .copies = {2}}));
}

TEST(ShardPlan, NothingIsDroppedForAFreshBackup) {
  ShardPlan plan = PlanOf({40}, 1, 2);
  plan.Drain(1);
  plan.Add(2);
  ASSERT_TRUE(plan.Advance());
  ASSERT_TRUE(plan.OnCopied(0, 2));
  EXPECT_FALSE(plan.Advance());
  EXPECT_THAT(plan.holders(0).backups, ElementsAre(1, 2));
  ASSERT_TRUE(plan.OnAdopted(0));
  EXPECT_TRUE(plan.Advance());
  EXPECT_THAT(plan.holders(0).backups, ElementsAre(2));
}

TEST(ShardPlan, IsRestoredAsItWas) {
  ShardPlan plan = PlanOf({40, 30, 20, 10}, 1, 2);
  plan.Add(5);
  ASSERT_TRUE(plan.Advance());
  ASSERT_TRUE(plan.OnCopied(1, 5));
  ShardPlan again(LayoutOf({40, 30, 20, 10}), 1);
  for (const int32_t server : plan.servers()) again.Add(server);
  for (ShardId shard = 0; shard < 4; ++shard) again.Restore(shard, plan.holders(shard));
  for (ShardId shard = 0; shard < 4; ++shard) EXPECT_EQ(again.holders(shard), plan.holders(shard)) << shard;
  for (const int32_t server : plan.servers()) {
    EXPECT_EQ(again.primary_bytes(server), plan.primary_bytes(server));
    EXPECT_EQ(again.held_bytes(server), plan.held_bytes(server));
  }
}

TEST(ShardPlan, MovesShardsToAServerThatJoinsAsCopyThenBackupThenPrimary) {
  ShardPlan plan = PlanOf({10, 10, 10, 10}, 0, 1);
  plan.Add(1);
  ASSERT_TRUE(plan.Advance());
  ASSERT_THAT(plan.holders(0).copies, ElementsAre(1));
  ASSERT_TRUE(plan.Advance());
  ASSERT_THAT(plan.holders(1).copies, ElementsAre(1));
  EXPECT_FALSE(plan.Advance()) << "two of four are on their way";
  ASSERT_TRUE(plan.OnCopied(0, 1));
  EXPECT_EQ(plan.holders(0),
            (ShardPlan::Holders{.primary = 0, .backups = {1}, .fresh = {1}, .successor = 1}));
  EXPECT_FALSE(plan.Advance()) << "the primary may not know yet that it is to wait for it";
  ASSERT_TRUE(plan.OnAdopted(0));
  EXPECT_EQ(plan.holders(0), (ShardPlan::Holders{.primary = 0, .backups = {1}, .successor = 1}));
  ASSERT_TRUE(plan.Advance());
  EXPECT_EQ(plan.holders(0), (ShardPlan::Holders{.primary = 1, .backups = {0}}));
  ASSERT_TRUE(plan.Advance()) << "the old primary goes";
  EXPECT_EQ(plan.holders(0), (ShardPlan::Holders{.primary = 1}));
  Settle(&plan, 4);
  EXPECT_EQ(plan.primary_bytes(0), plan.primary_bytes(1));
}

// Of the servers that hold something.
int64_t Spread(const ShardPlan& plan, int64_t (ShardPlan::*bytes)(int32_t) const) {
  int64_t most = 0, least = std::numeric_limits<int64_t>::max();
  for (const int32_t server : plan.servers()) {
    most = std::max(most, (plan.*bytes)(server));
    least = std::min(least, (plan.*bytes)(server));
  }
  return most - least;
}

// Of copies under way.
int64_t CopyBytes(const ShardPlan& plan, const std::vector<int64_t>& elements) {
  int64_t bytes = 0;
  for (size_t index = 0; index < elements.size(); ++index) {
    const auto copies = static_cast<int64_t>(plan.holders(static_cast<ShardId>(index)).copies.size());
    bytes += copies * elements[index] * static_cast<int64_t>(sizeof(float));
  }
  return bytes;
}

TEST(ShardPlan, CopiesManySmallShardsAtOnce) {
  ShardPlan plan = PlanOf(std::vector<int64_t>(1000, 1), 0, 1);
  plan.Add(1);
  while (plan.Advance()) {
  }
  EXPECT_EQ(plan.CopiesUnderWay(), ShardPlan::kMostCopies);
  Settle(&plan, 1000);
  EXPECT_EQ(plan.CopiesUnderWay(), 0);
  EXPECT_EQ(plan.primary_bytes(0), plan.primary_bytes(1));
}

TEST(ShardPlan, BalancesPrimariesAndBackupsOverServersThatJoinSoonAndSomeCopiesAtOnce) {
  constexpr size_t kShards = 200;
  constexpr int64_t kUnit = 2000, kLargest = 97 * kUnit * sizeof(float);
  std::vector<int64_t> elements;
  for (size_t i = 0; i < kShards; ++i) elements.push_back(kUnit * (1 + static_cast<int64_t>(i * 31 % 97)));
  for (const int32_t backups : {0, 1, 2}) {
    SCOPED_TRACE(backups);
    ShardPlan plan = PlanOf(elements, backups, backups + 1);
    for (const int32_t server : {10, 11}) plan.Add(server);
    while (plan.Advance()) {
    }
    EXPECT_GE(plan.CopiesUnderWay(), ShardPlan::kFewCopies);
    EXPECT_LE(CopyBytes(plan, elements), ShardPlan::kFewCopies * kLargest);
    EXPECT_LE(Settle(&plan, kShards), 60);
    EXPECT_LE(Spread(plan, &ShardPlan::primary_bytes), kLargest);
    EXPECT_LE(Spread(plan, &ShardPlan::held_bytes), kLargest);
  }
}

TEST(ShardPlan, AServerThatJoinsGetsABackupWhereThereIsNoPrimaryForIt) {
  ShardPlan plan = PlanOf({10, 10}, 1, 2);
  plan.Add(2);
  plan.Add(3);
  Settle(&plan, 2);
  for (int32_t server = 0; server < 4; ++server) EXPECT_EQ(plan.held_bytes(server), 40) << server;
}

TEST(ShardPlan, HasNoUseForMoreServersThanThereIsToHold) {
  ShardPlan plan = PlanOf({40, 1, 1}, 0, 1);
  for (int32_t server = 1; server < 4; ++server) plan.Add(server);
  Settle(&plan, 3);
  EXPECT_TRUE(plan.IsEmpty(3));
  for (int32_t server = 0; server < 3; ++server) EXPECT_GT(plan.primary_bytes(server), 0) << server;
}

TEST(ShardPlan, MovesAShardRatherToItsBackup) {
  ShardPlan plan(LayoutOf({10, 10, 10, 10}), 1);
  for (const int32_t server : {0, 1, 2}) plan.Add(server);
  for (const ShardId shard : {0, 1, 2}) plan.Restore(shard, {.primary = 0, .backups = {2}});
  plan.Restore(3, {.primary = 0, .backups = {1}});
  ASSERT_TRUE(plan.Advance());
  EXPECT_EQ(plan.holders(3), (ShardPlan::Holders{.primary = 1, .backups = {0}})) << "with nothing to copy";
}

TEST(ShardPlan, AServerThatIsToBeLeftKeepsWhatItHasUntilOthersHaveIt) {
  ShardPlan plan = PlanOf({40, 30, 20, 10}, 1, 3);
  plan.Drain(0);
  EXPECT_FALSE(plan.IsEmpty(0));
  Settle(&plan, 4);
  EXPECT_TRUE(plan.IsEmpty(0));
  for (ShardId shard = 0; shard < 4; ++shard) EXPECT_EQ(plan.holders(shard).backups.size(), 1U) << shard;
  EXPECT_THAT(plan.Remove(0).lost, IsEmpty());
}

// Random events: whatever comes, the invariants hold, and when it is quiet all is as it is to be.
TEST(ShardPlan, KeepsItsInvariantsThroughAnyEvents) {
  const std::vector<int64_t> elements = {400, 400, 300, 250, 100, 100, 50, 20, 10, 10, 4, 1};
  constexpr int kRuns = 40, kEvents = 3000;
  for (uint64_t seed = 1; seed <= kRuns; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937_64 random(seed);
    const auto below = [&random](size_t n) { return static_cast<size_t>(random() % n); };
    const auto backups = static_cast<int32_t>(below(3));
    ShardPlan plan(LayoutOf(elements), backups);
    std::set<int32_t> there, drained;
    int32_t next_server = 0;
    bool placed = false;
    const auto pick = [&] { return *std::next(there.begin(), static_cast<int64_t>(below(there.size()))); };
    for (int event = 0; event < kEvents; ++event) {
      const size_t what = below(10);
      if (what == 0 && there.size() < 7) {
        plan.Add(next_server);
        there.insert(next_server++);
      } else if (what == 1 && there.size() > 1) {
        const int32_t server = pick();
        const ShardPlan before = plan;
        const ShardPlan::Losses losses = plan.Remove(server);
        for (const ShardId shard : losses.taken_over) {
          const ShardPlan::Holders& was = before.holders(shard);
          const int32_t heir = plan.holders(shard).primary;
          ASSERT_THAT(was.backups, testing::Contains(heir));
          ASSERT_THAT(was.fresh, testing::Not(testing::Contains(heir)));
        }
        for (const ShardId shard : losses.lost) ASSERT_EQ(plan.holders(shard), ShardPlan::Holders());
        placed &= losses.lost.empty();
        there.erase(server);
        drained.erase(server);
      } else if (what == 2 && there.size() > drained.size() + 1 && below(4) == 0) {
        const int32_t server = pick();
        plan.Drain(server);
        drained.insert(server);
      } else if (what == 3 && !there.empty()) {
        plan.OnAdopted(pick());
      } else if (what < 7) {
        const auto shard = static_cast<ShardId>(below(elements.size()));
        const std::vector<int32_t> copies = plan.holders(shard).copies;
        if (!copies.empty()) {
          ASSERT_TRUE(plan.OnCopied(shard, copies[below(copies.size())]));
        }
      } else if (placed) {
        plan.Advance();
      }
      if (!placed && there.size() > drained.size()) {
        plan.Place();
        placed = true;
      }
      std::map<int32_t, int64_t> primary_bytes, held_bytes;
      for (size_t index = 0; index < elements.size() && placed; ++index) {
        const ShardPlan::Holders& holders = plan.holders(static_cast<ShardId>(index));
        const int64_t bytes = elements[index] * 4;
        std::vector<int32_t> all = holders.backups;
        all.insert(all.end(), holders.copies.begin(), holders.copies.end());
        all.push_back(holders.primary);
        for (const int32_t server : all) {
          ASSERT_TRUE(there.count(server)) << "shard " << index << ", server " << server;
          held_bytes[server] += bytes;
        }
        primary_bytes[holders.primary] += bytes;
        ASSERT_TRUE(std::includes(holders.backups.begin(), holders.backups.end(), holders.fresh.begin(),
                                  holders.fresh.end()))
            << "shard " << index;
        ASSERT_EQ(std::set<int32_t>(all.begin(), all.end()).size(), all.size()) << "shard " << index;
      }
      for (const int32_t server : there) {
        if (!placed) break;
        ASSERT_EQ(plan.primary_bytes(server), primary_bytes[server]) << server;
        ASSERT_EQ(plan.held_bytes(server), held_bytes[server]) << server;
      }
    }
    if (!placed || there.size() == drained.size()) continue;  // nobody to move to
    Settle(&plan, elements.size());
    const size_t staying = there.size() - drained.size();
    int64_t most = 0, least = std::numeric_limits<int64_t>::max();
    for (const int32_t server : there) {
      if (drained.count(server)) {
        EXPECT_TRUE(plan.IsEmpty(server)) << server;
        continue;
      }
      most = std::max(most, plan.primary_bytes(server));
      least = std::min(least, plan.primary_bytes(server));
    }
    EXPECT_LE(most - least, 400 * 4);
    size_t spare = 0, holdings = 0;
    for (const int32_t server : there) spare += plan.IsEmpty(server) && drained.count(server) == 0;
    for (size_t index = 0; index < elements.size(); ++index)
      holdings += 1 + plan.holders(static_cast<ShardId>(index)).backups.size();
    EXPECT_EQ(spare, staying - std::min(staying, holdings)) << "there was something to move";
    for (size_t index = 0; index < elements.size(); ++index) {
      const ShardPlan::Holders& holders = plan.holders(static_cast<ShardId>(index));
      EXPECT_EQ(holders.backups.size(), std::min(static_cast<size_t>(backups), staying - 1)) << index;
      EXPECT_THAT(holders.copies, IsEmpty());
      EXPECT_THAT(holders.fresh, IsEmpty());
      EXPECT_EQ(holders.successor, ShardPlan::kNobody);
    }
  }
}

}  // namespace
}  // namespace tessera
