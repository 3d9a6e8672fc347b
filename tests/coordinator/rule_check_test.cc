#include "coordinator/rule_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

TEST(CheckUpdateRule, TakesASoundRule) { EXPECT_TRUE(CheckUpdateRule(MakeTestPlan(1, 1)).ok()); }

TEST(CheckUpdateRule, NamesPositionAndNearestOptimizer) {
  JobPlan plan = MakeTestPlan(1, 1);
  plan.job.train.optimizer = {.name = "sgdd", .where = "job.yaml:7:3"};
  EXPECT_EQ(std::string(CheckUpdateRule(plan).message())
                .find("job.yaml:7:3: unknown optimizer `sgdd`; did you mean `sgd`?"),
            0u);
}

TEST(CheckUpdateRule, RefusesAnUnknownScheduleOption) {
  JobPlan plan = MakeTestPlan(1, 1);
  plan.job.train.schedule = {
      .name = "constant", .options = Options({{"speed", "1"}}), .where = "job.yaml:8:3"};
  const absl::Status status = CheckUpdateRule(plan);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(std::string(status.message()).find("speed"), std::string::npos);
}

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// As the loader makes it: the section at 7:3, each option with a position of its own.
NamedOptions Section(const std::string& name, const std::string& key, OptionValue value) {
  NamedOptions section = {.name = name, .options = Options({{"lr", "0.1"}}), .where = "job.yaml:7:3"};
  section.options.set_where(section.where);
  section.options.Set(key, std::move(value));
  return section;
}

std::string OptimizerRefusal(NamedOptions optimizer) {
  JobPlan plan = MakeTestPlan(1, 1);
  plan.job.train.optimizer = std::move(optimizer);
  return std::string(CheckUpdateRule(plan).message());
}

TEST(CheckUpdateRule, NamesThePositionOfAnOptimizersOptionOnce) {
  EXPECT_THAT(OptimizerRefusal(Section("adam", "beta1", {"1", "job.yaml:9:5"})),
              StartsWith("job.yaml:9:5: `beta1` must be below 1"));
  EXPECT_THAT(OptimizerRefusal(Section("adamw", "decay_bias_and_norm", {"no", "job.yaml:9:5"})),
              StartsWith("job.yaml:9:5: `decay_bias_and_norm` must be true or false"));
  EXPECT_THAT(OptimizerRefusal(Section("sgd", "decay_bias_and_norm", {"false", "job.yaml:9:5"})), "");
  NamedOptions without_rate = {.name = "adagrad", .where = "job.yaml:7:3"};
  EXPECT_EQ(OptimizerRefusal(without_rate), "job.yaml:7:3: missing `lr`");
}

TEST(CheckUpdateRule, NamesThePositionOfASchedulesOptionOnce) {
  JobPlan plan = MakeTestPlan(1, 1);
  plan.job.train.schedule = {.name = "multistep", .where = "job.yaml:8:3"};
  EXPECT_THAT(std::string(CheckUpdateRule(plan).message()),
              StartsWith("job.yaml:8:3: `milestones` must name"));
  plan.job.train.schedule.options.Set("milestones",
                                      {std::vector<std::string>{"2 epochs", "1 epoch"}, "job.yaml:9:17"});
  EXPECT_THAT(std::string(CheckUpdateRule(plan).message()),
              AllOf(StartsWith("job.yaml:9:17: `milestones` must rise"), HasSubstr("`1 epoch`")));
}

TEST(CheckUpdateRule, CountsMilestonesInTheEpochsOfTheJob) {
  JobPlan plan = MakeTestPlan(1, 1);  // 4 minibatches an epoch
  plan.job.train.schedule = {.name = "multistep"};
  plan.job.train.schedule.options.Set("milestones", {std::vector<std::string>{"1 epoch", "4 steps"}, ""});
  EXPECT_FALSE(CheckUpdateRule(plan).ok());
  plan.job.train.schedule.options.Set("milestones", {std::vector<std::string>{"1 epoch", "5 steps"}, ""});
  EXPECT_TRUE(CheckUpdateRule(plan).ok());
}

}  // namespace
}  // namespace tessera
