#include "server/schedule.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr ScheduleContext kRun{.total_steps = 200, .steps_per_epoch = 50};

std::unique_ptr<Schedule> Make(const std::string& name, Options options = {}) {
  auto schedule = CreateSchedule(name, std::move(options), kRun);
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  return *std::move(schedule);
}

absl::Status Refusal(const std::string& name, Options options, const ScheduleContext& context = kRun) {
  return CreateSchedule(name, std::move(options), context).status();
}

TEST(Schedule, CosineFollowsHalfAWave) {
  const auto cosine = Make("cosine");
  EXPECT_EQ(cosine->Factor(0), 1);
  EXPECT_NEAR(cosine->Factor(50), (1 + std::sqrt(0.5)) / 2, 1e-15);
  EXPECT_NEAR(cosine->Factor(200.0 / 3), 0.75, 1e-15);
  EXPECT_NEAR(cosine->Factor(100), 0.5, 1e-15);
  EXPECT_NEAR(cosine->Factor(400.0 / 3), 0.25, 1e-15);
  EXPECT_EQ(cosine->Factor(200), 0);
  EXPECT_EQ(cosine->Factor(1000), 0);
}

TEST(Schedule, ConstantStaysConstant) {
  const auto constant = Make("constant");
  for (const double progress : {0.0, 0.5, 100.0, 1e9}) EXPECT_EQ(constant->Factor(progress), 1);
}

TEST(Schedule, WarmupInStepsRampsFromTheFirstStep) {
  const auto warm = Make("constant", {{"warmup", "4 steps"}});
  EXPECT_EQ(warm->Factor(0), 0.25);
  EXPECT_EQ(warm->Factor(0.5), 0.375);
  EXPECT_EQ(warm->Factor(2), 0.75);
  EXPECT_EQ(warm->Factor(3), 1);
  EXPECT_EQ(warm->Factor(100), 1);
}

TEST(Schedule, WarmupInEpochsCountsTheirSteps) {
  const auto in_epochs = Make("constant", {{"warmup", "2 epochs"}});
  const auto in_steps = Make("constant", {{"warmup", "100 steps"}});
  const auto half = Make("constant", {{"warmup", "0.5 epoch"}});
  for (double progress = 0; progress < 120; progress += 7) {
    EXPECT_EQ(in_epochs->Factor(progress), in_steps->Factor(progress));
  }
  EXPECT_EQ(half->Factor(4), 0.2);
}

TEST(Schedule, WarmupMultipliesTheScheduleOfTheWholeRun) {
  const auto warm = Make("cosine", {{"warmup", "100 steps"}});
  const auto cosine = Make("cosine");
  EXPECT_EQ(warm->Factor(49), cosine->Factor(49) * 0.5);
  EXPECT_EQ(warm->Factor(150), cosine->Factor(150));
}

TEST(Schedule, WarmupOfNothingIsNone) {
  EXPECT_EQ(Make("constant", {{"warmup", "0 steps"}})->Factor(0), 1);
  EXPECT_EQ(Make("constant", {{"warmup", "1 step"}})->Factor(0), 1);
}

TEST(Schedule, EveryScheduleStaysBetweenZeroAndOne) {
  for (const std::string& name : ScheduleRegistry::Names()) {
    const auto schedule = Make(name, {{"warmup", "10 steps"}});
    for (double progress = 0; progress < 300; progress += 0.25) {
      ASSERT_GE(schedule->Factor(progress), 0) << name << " at " << progress;
      ASSERT_LE(schedule->Factor(progress), 1) << name << " at " << progress;
    }
  }
}

TEST(Schedule, RefusesAWarmupThatIsNone) {
  for (const std::string text : {"100", "100 parsecs", "steps", "-1 steps", "nan steps", "1 2 steps", ""}) {
    const absl::Status status = Refusal("constant", {{"warmup", text}});
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr("warmup"), HasSubstr("`" + text + "`")));
  }
}

TEST(Schedule, NamesTheNearestScheduleOrOption) {
  EXPECT_THAT(std::string(Refusal("cosin", {}).message()), HasSubstr("did you mean `cosine`?"));
  EXPECT_THAT(std::string(Refusal("cosine", {{"warmpu", "1 epoch"}}).message()),
              HasSubstr("did you mean `warmup`?"));
}

TEST(Schedule, CosineNeedsARun) {
  EXPECT_EQ(Refusal("cosine", {}, {.total_steps = 0, .steps_per_epoch = 0}).code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera
