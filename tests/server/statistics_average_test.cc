#include "server/statistics_average.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>

#include "tests/server/test_shards.h"

namespace tessera {
namespace {

std::unique_ptr<Optimizer> Make(double momentum, int32_t group, int32_t replicas) {
  auto average = StatisticsAverage::Create(momentum, group, replicas);
  EXPECT_TRUE(average.ok()) << average.status();
  return *std::move(average);
}

Floats Step(const Optimizer& average, const Floats& running, const Floats& batch) {
  Floats next(running.size());
  average.Apply({average.base_learning_rate(), 1}, running, batch, {}, absl::MakeSpan(next));
  return next;
}

TEST(StatisticsAverage, MovesByMomentumTowardsTheRound) {
  EXPECT_EQ(Step(*Make(0.25, 4, 4), {0, 1, 8}, {4, 1, 0}), (Floats{1, 1, 6}));
}

TEST(StatisticsAverage, RoundsAsItsFormulaIsWritten) {
  const float m = 0.1F;
  const float running = 3;
  EXPECT_EQ(Step(*Make(0.1, 1, 1), {running}, {2}), (Floats{running + m * (2 - running)}));
  EXPECT_NE(running + m * (2 - running), (1 - m) * running + m * 2);  // or this would show nothing
}

TEST(StatisticsAverage, MomentumIsExactWhenTheGroupIsAll) {
  for (const double momentum : {0.1, 0.01, 0.3})
    EXPECT_EQ(Make(momentum, 6, 6)->base_learning_rate(), momentum);
}

TEST(StatisticsAverage, SmallGroupsTogetherMoveAsFarAsOneOfAll) {
  const auto all = Make(0.1, 4, 4);
  const auto quarter = Make(0.1, 1, 4);
  Floats running{1, -2};
  for (int update = 0; update < 4; ++update) running = Step(*quarter, running, {3, 3});
  const Floats expected = Step(*all, {1, -2}, {3, 3});
  for (size_t i = 0; i < running.size(); ++i) EXPECT_NEAR(running[i], expected[i], 1e-6);
}

TEST(StatisticsAverage, RefusesAMomentumThatIsNone) {
  for (const double momentum : {-0.1, 1.1, std::nan("")}) {
    EXPECT_EQ(StatisticsAverage::Create(momentum, 1, 1).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace tessera
