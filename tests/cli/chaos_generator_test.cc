#include "cli/chaos_generator.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

constexpr ChaosJob kJob = {.cluster = {.servers = 2, .workers = 3}, .steps = 60};
constexpr uint64_t kSeeds = 2000;

size_t FaultsOf(const ChaosPlan& plan) {
  return plan.faults.size() + (plan.drop_percent > 0 ? 1 : 0) + (plan.cut_percent > 0 ? 1 : 0);
}

TEST(ChaosGenerator, SameSeedGivesTheSamePlan) {
  EXPECT_EQ(FormatChaosPlan(RandomChaosPlan(7, kJob)), FormatChaosPlan(RandomChaosPlan(7, kJob)));
  EXPECT_NE(FormatChaosPlan(RandomChaosPlan(7, kJob)), FormatChaosPlan(RandomChaosPlan(8, kJob)));
}

TEST(ChaosGenerator, PlansHaveTwoToFiveFaultsThatHaveTimeToFire) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const ChaosPlan plan = RandomChaosPlan(seed, kJob);
    EXPECT_GE(FaultsOf(plan), 2u) << seed;
    EXPECT_LE(FaultsOf(plan), 5u) << seed;
    for (const ChaosFault& fault : plan.faults) {
      EXPECT_GE(fault.step, 1);
      EXPECT_LE(fault.step, 45);
    }
  }
}

TEST(ChaosGenerator, PlansAreOfTheGrammar) {
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const std::string text = FormatChaosPlan(RandomChaosPlan(seed, kJob));
    const absl::StatusOr<ChaosPlan> plan = ParseChaosPlan(text, "plan", kJob.cluster);
    ASSERT_TRUE(plan.ok()) << plan.status();
    EXPECT_EQ(FormatChaosPlan(*plan), text);
  }
}

TEST(ChaosGenerator, EveryKindOfFaultMeetsEveryNode) {
  std::set<std::string> seen;
  bool drops = false, cuts = false;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const ChaosPlan plan = RandomChaosPlan(seed, kJob);
    drops = drops || plan.drop_percent > 0;
    cuts = cuts || plan.cut_percent > 0;
    for (const ChaosFault& fault : plan.faults) {
      const std::string text = FormatChaosFault(fault);
      seen.insert(text.substr(0, text.find(" @")));
    }
  }
  EXPECT_EQ(seen.size(), 3u * 6u);
  EXPECT_TRUE(drops && cuts);
}

// A fault that waits for a step that nobody is left to reach would hang the run.
TEST(ChaosGenerator, OnlyANodeWithOthersOfItsKindStaysDead) {
  for (const ChaosJob& job : {kJob, ChaosJob{.cluster = {.servers = 1, .workers = 1}, .steps = 60}}) {
    for (uint64_t seed = 0; seed < kSeeds; ++seed) {
      const ChaosPlan plan = RandomChaosPlan(seed, job);
      std::set<std::string> dead;
      for (size_t i = 0; i < plan.faults.size(); ++i) {
        const Place& place = plan.faults[i].place;
        const bool restarted = std::any_of(
            plan.faults.begin() + static_cast<int>(i) + 1, plan.faults.end(), [&](const ChaosFault& later) {
              return later.kind == ChaosFault::Kind::kRestart && later.place == place;
            });
        if (plan.faults[i].kind != ChaosFault::Kind::kKill || !restarted) continue;
        dead.insert(FormatPlace(place));
        EXPECT_EQ(job.cluster.servers, 2) << "seed " << seed << ": " << FormatChaosPlan(plan);
        EXPECT_NE(place.kind, PlaceKind::kCoordinator) << FormatChaosPlan(plan);
      }
      EXPECT_LE(dead.size(), 1u) << FormatChaosPlan(plan);
    }
  }
}

TEST(ChaosGenerator, WithBackupsNoShardLosesAllWhoHaveIt) {
  std::set<int> all;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    const ChaosPlan plan =
        RandomChaosPlan(seed, {.cluster = {.servers = 3, .workers = 3}, .steps = 60, .server_backups = 1});
    EXPECT_GE(FaultsOf(plan), 2u);
    std::set<int> struck;
    for (const ChaosFault& fault : plan.faults) {
      if (fault.place.kind == PlaceKind::kServer) struck.insert(fault.place.index);
    }
    EXPECT_LE(struck.size(), 1u) << FormatChaosPlan(plan);
    all.insert(struck.begin(), struck.end());
  }
  EXPECT_EQ(all.size(), 3u);
}

TEST(ChaosGenerator, ShortestJobHasAPlanToo) {
  const ChaosPlan plan = RandomChaosPlan(3, {.cluster = {.servers = 1, .workers = 1}, .steps = 1});
  EXPECT_GE(FaultsOf(plan), 2u);
}

}  // namespace
}  // namespace tessera::cli
