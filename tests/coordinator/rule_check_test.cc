#include "coordinator/rule_check.h"

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

}  // namespace
}  // namespace tessera
