#include "cli/restart_policy.h"

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

constexpr absl::Time kNow = absl::UnixEpoch();
constexpr absl::Duration kMinute = absl::Minutes(1);

TEST(RestartPolicy, FirstDeathIsFollowedByARestartAtOnce) {
  RestartPolicy policy(1);
  EXPECT_EQ(*policy.OnDeath(0, kNow), kNow);
  EXPECT_EQ(*policy.OnDeath(1, kNow), kNow) << "another process";
}

TEST(RestartPolicy, DelaysDoubleWithinAMinute) {
  RestartPolicy policy(1);
  ASSERT_TRUE(policy.OnDeath(0, kNow).ok());
  absl::Duration delay = RestartPolicy::kFirstDelay;
  for (int death = 1; death < RestartPolicy::kMostInAMinute; ++death, delay *= 2) {
    const absl::StatusOr<absl::Time> due = policy.OnDeath(0, kNow);
    ASSERT_TRUE(due.ok());
    EXPECT_GE(*due, kNow + delay / 2);
    EXPECT_LE(*due, kNow + delay);
  }
}

TEST(RestartPolicy, ThoseThatDieTogetherComeBackOneByOne) {
  RestartPolicy policy(1);
  for (const size_t process : {0, 1}) ASSERT_TRUE(policy.OnDeath(process, kNow).ok());
  EXPECT_NE(*policy.OnDeath(0, kNow), *policy.OnDeath(1, kNow));
}

TEST(RestartPolicy, ProcessThatDiesTooOftenIsGivenUp) {
  RestartPolicy policy(1);
  for (int death = 0; death < RestartPolicy::kMostInAMinute; ++death) {
    ASSERT_TRUE(policy.OnDeath(0, kNow + absl::Seconds(death)).ok());
  }
  const absl::StatusOr<absl::Time> last = policy.OnDeath(0, kNow + kMinute - absl::Nanoseconds(1));
  EXPECT_EQ(last.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(last.status().message(), "started again 5 times within a minute");
  EXPECT_TRUE(policy.OnDeath(1, kNow).ok()) << "another process";
  EXPECT_TRUE(policy.OnDeath(0, kNow + kMinute).ok()) << "the first is forgotten";
}

TEST(RestartPolicy, AMinuteLaterADeathIsTheFirstAgain) {
  RestartPolicy policy(1);
  ASSERT_TRUE(policy.OnDeath(0, kNow).ok());
  EXPECT_EQ(*policy.OnDeath(0, kNow + kMinute), kNow + kMinute);
}

TEST(RestartPolicy, RunThatLosesTooManyProcessesIsGivenUp) {
  RestartPolicy policy(1);
  for (int death = 0; death < RestartPolicy::kMostInAll; ++death) {
    ASSERT_TRUE(policy.OnDeath(static_cast<size_t>(death % 3), kNow + death * kMinute).ok());
  }
  EXPECT_EQ(policy.OnDeath(0, kNow + 1000 * kMinute).status().message(),
            "the run's processes were started again 50 times");
}

}  // namespace
}  // namespace tessera::cli
