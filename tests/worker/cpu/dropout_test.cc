// Dropout in a network: the same mask in every executor, a pure function of the step's key, none in
// evaluation.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/worker/cpu/agreement.h"

namespace tessera::cpu {
namespace {

// Of one sample, the gradient of the last layer's weights is 0 right where an element of its input was
// dropped.
class CpuDropout : public testing::TestWithParam<int> {
 protected:
  using Values = std::vector<float>;

  Values LastGradient(const std::string& executor, const nn::StepKey& key, int threads = 1) {
    nn::MemoryExchange exchange = RandomWeights(*graph_);
    const auto result = MakeExecutor(executor, graph_, threads)->Step(samples_.batch(), key, &exchange);
    EXPECT_TRUE(result.ok()) << result.status();
    return exchange.gradients.back();
  }

  static std::vector<bool> Dropped(const Values& gradient) {
    std::vector<bool> dropped;
    for (float value : gradient) dropped.push_back(value == 0);
    return dropped;
  }

  // The number of channels decides on the layout.
  const std::shared_ptr<const nn::Graph> graph_ =
      MakeGraph({{.name = "conv",
                  .kind = "conv2d",
                  .options = {{"out_channels", std::to_string(GetParam())}, {"kernel", "3"}}},
                 {.name = "drop", .kind = "dropout"},
                 {.name = "rows", .kind = "flatten"},
                 {.name = "fc", .kind = "linear", .options = {{"out_features", "3"}, {"bias", "false"}}}},
                {1, 7, 5});
  const Samples samples_{*graph_, 1};
};

TEST_P(CpuDropout, DropsTheElementsThatTheReferenceDrops) {
  const std::vector<bool> dropped = Dropped(LastGradient("cpu", kKey));
  EXPECT_EQ(dropped, Dropped(LastGradient("reference", kKey)));
  EXPECT_NE(dropped, std::vector<bool>(dropped.size(), false));
  EXPECT_NE(dropped, std::vector<bool>(dropped.size(), true));
}

TEST_P(CpuDropout, TheSameStepDropsTheSameAndAnotherClockOthers) {
  const Values gradient = LastGradient("cpu", kKey);
  EXPECT_EQ(LastGradient("cpu", kKey), gradient);
  EXPECT_EQ(Dropped(LastGradient("cpu", kKey, /*threads=*/2)), Dropped(gradient));
  nn::StepKey next = kKey;
  ++next.clock;
  EXPECT_NE(Dropped(LastGradient("cpu", next)), Dropped(gradient));
}

TEST_P(CpuDropout, OnePlanServesEveryKey) {
  const auto executor = MakeExecutor("cpu", graph_);
  for (Clock clock : {0, 1, 0}) {
    nn::StepKey key = kKey;
    key.clock = clock;
    nn::MemoryExchange exchange = RandomWeights(*graph_);
    ASSERT_TRUE(executor->Step(samples_.batch(), key, &exchange).ok());
    EXPECT_EQ(exchange.gradients.back(), LastGradient("cpu", key)) << clock;
  }
}

TEST_P(CpuDropout, EvaluationDropsNothing) {
  const auto without =
      MakeGraph({{.name = "conv",
                  .kind = "conv2d",
                  .options = {{"out_channels", std::to_string(GetParam())}, {"kernel", "3"}}},
                 {.name = "rows", .kind = "flatten"},
                 {.name = "fc", .kind = "linear", .options = {{"out_features", "3"}, {"bias", "false"}}}},
                {1, 7, 5});
  nn::MemoryExchange exchange = RandomWeights(*graph_);
  const auto result = MakeExecutor("cpu", graph_)->Evaluate(samples_.batch(), &exchange);
  const auto expected = MakeExecutor("cpu", without)->Evaluate(samples_.batch(), &exchange);
  ASSERT_TRUE(result.ok() && expected.ok()) << result.status() << expected.status();
  EXPECT_EQ(result->loss_sum, expected->loss_sum);
}

INSTANTIATE_TEST_SUITE_P(Channels, CpuDropout, testing::Values(1, 5, 16, 17));

}  // namespace
}  // namespace tessera::cpu
