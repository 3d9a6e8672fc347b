#include "server/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/server/test_shards.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Optimizer> Make(const std::string& name, Options options) {
  auto optimizer = OptimizerRegistry::Create("optimizer", name, std::move(options));
  EXPECT_TRUE(optimizer.ok()) << optimizer.status();
  return *std::move(optimizer);
}

std::string Refusal(const std::string& name, Options options) {
  const absl::Status status = OptimizerRegistry::Create("optimizer", name, std::move(options)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

// A shard under an optimizer, or a part of one.
class Trained {
 public:
  Trained(const Optimizer& optimizer, Floats weights)
      : optimizer_(optimizer),
        weights_(std::move(weights)),
        slots_(optimizer.slot_names().size(), Floats(weights_.size(), 0)) {}

  void Step(double learning_rate, absl::Span<const float> gradient) {
    std::vector<absl::Span<float>> slots;
    for (Floats& slot : slots_) slots.push_back(absl::MakeSpan(slot));
    Floats next(weights_.size());
    optimizer_.Apply({learning_rate, ++updates_}, weights_, gradient, slots, absl::MakeSpan(next));
    weights_ = std::move(next);
  }

  const Floats& weights() const { return weights_; }
  const std::vector<Floats>& slots() const { return slots_; }

 private:
  const Optimizer& optimizer_;
  Floats weights_;
  std::vector<Floats> slots_;
  int64_t updates_ = 0;
};

TEST(Optimizer, SgdTakesTheStepsOfItsFormula) {
  const auto sgd = Make("sgd", {{"lr", "0.5"}, {"weight_decay", "0.25"}});
  EXPECT_EQ(sgd->base_learning_rate(), 0.5);
  Trained shard(*sgd, {1, -2, 4});
  shard.Step(0.5, {0.5F, 1, -3});
  EXPECT_EQ(shard.weights(), (Floats{0.625F, -2.25F, 5}));  // g + w/4 = 0.75, 0.5, -2
  shard.Step(0.25, {0, 0, 0});
  EXPECT_EQ(shard.weights(), (Floats{0.625F * 0.9375F, -2.25F * 0.9375F, 5 * 0.9375F}));
}

TEST(Optimizer, MomentumTakesTheStepsOfItsFormula) {
  const auto momentum = Make("momentum", {{"lr", "0.1"}, {"momentum", "0.5"}, {"weight_decay", "0.5"}});
  Trained shard(*momentum, {2, -4});
  shard.Step(0.5, {1, 0});
  EXPECT_EQ(shard.slots()[0], (Floats{2, -2}));  // the first step is g + w/2 itself
  EXPECT_EQ(shard.weights(), (Floats{1, -3}));
  shard.Step(0.25, {0.5F, 0.5F});
  EXPECT_EQ(shard.slots()[0], (Floats{2, -2}));  // 2/2 + 1, -2/2 - 1
  EXPECT_EQ(shard.weights(), (Floats{0.5F, -2.5F}));
}

TEST(Optimizer, MomentumDefaultsAreThoseOfItsPage) {
  const auto given = Make("momentum", {{"lr", "0.1"}, {"momentum", "0.9"}, {"weight_decay", "0"}});
  const auto by_default = Make("momentum", {{"lr", "0.1"}});
  Trained a(*given, {1, 2});
  Trained b(*by_default, {1, 2});
  for (int step = 0; step < 3; ++step) {
    a.Step(0.1, {0.3F, -0.7F});
    b.Step(0.1, {0.3F, -0.7F});
  }
  EXPECT_TRUE(SameBits(a.weights(), b.weights()));
}

TEST(Optimizer, ScheduleActsAtOnceOnTheWholeBuffer) {
  const auto momentum = Make("momentum", {{"lr", "0.1"}});
  Trained shard(*momentum, {1});
  shard.Step(0.1, {1});
  const float before = shard.weights()[0];
  shard.Step(0, {1});
  EXPECT_EQ(shard.weights()[0], before);
}

TEST(Optimizer, NumbersAreRoundedToFloatBeforeUse) {
  // In double, 0.1 * 9 would be rounded once, at the end; PyTorch's float kernels round 0.1 first.
  const auto sgd = Make("sgd", {{"lr", "0.1"}});
  Trained shard(*sgd, {0});
  shard.Step(0.1, {9});
  EXPECT_EQ(shard.weights()[0], -(0.1F * 9.0F));
  EXPECT_NE(shard.weights()[0], static_cast<float>(-(0.1 * 9.0)));
}

TEST(Optimizer, RefusesOptionsOutOfRange) {
  EXPECT_THAT(Refusal("sgd", {}), HasSubstr("missing `lr`"));
  EXPECT_THAT(Refusal("sgd", {{"lr", "0"}}), HasSubstr("`lr` must be above 0"));
  EXPECT_THAT(Refusal("sgd", {{"lr", "-1"}}), HasSubstr("`lr`"));
  EXPECT_THAT(Refusal("sgd", {{"lr", "nan"}}), HasSubstr("`lr`"));
  EXPECT_THAT(Refusal("sgd", {{"lr", "0.1"}, {"weight_decay", "-1"}}), HasSubstr("`weight_decay`"));
  EXPECT_THAT(Refusal("momentum", {{"lr", "0.1"}, {"momentum", "1"}}),
              HasSubstr("`momentum` must be below 1"));
  EXPECT_THAT(Refusal("momentum", {{"lr", "0.1"}, {"momentum", "-0.1"}}), HasSubstr("`momentum`"));
  EXPECT_THAT(Refusal("sgd", {{"lr", "0.1"}, {"momentum", "0.9"}}), HasSubstr("unknown option `momentum`"));
  EXPECT_THAT(Refusal("momentun", {{"lr", "0.1"}}), HasSubstr("did you mean `momentum`?"));
}

// Every registered optimizer, without being told.
class EveryOptimizer : public ::testing::TestWithParam<std::string> {};

TEST_P(EveryOptimizer, PiecesOfAShardGetTheBitsOfTheWhole) {
  const auto optimizer = Make(GetParam(), {{"lr", "0.05"}, {"weight_decay", "0.0005"}});
  std::mt19937 random(7);
  constexpr size_t kLength = 1003;
  const std::vector<size_t> cuts = {0, 1, 4, 21, 500, 1003};
  const Floats start = RandomFloats(random, kLength);
  Trained whole(*optimizer, start);
  std::vector<Trained> pieces;
  for (size_t i = 0; i + 1 < cuts.size(); ++i) {
    pieces.emplace_back(*optimizer, Floats(start.begin() + cuts[i], start.begin() + cuts[i + 1]));
  }
  for (int step = 1; step <= 5; ++step) {
    const Floats gradient = RandomFloats(random, kLength);
    whole.Step(0.05 / step, gradient);
    for (size_t i = 0; i < pieces.size(); ++i) {
      pieces[i].Step(0.05 / step, absl::MakeSpan(gradient).subspan(cuts[i], cuts[i + 1] - cuts[i]));
    }
  }
  Floats together;
  for (const Trained& piece : pieces) {
    together.insert(together.end(), piece.weights().begin(), piece.weights().end());
  }
  EXPECT_TRUE(SameBits(together, whole.weights()));
}

TEST_P(EveryOptimizer, FirstStepGoesDownTheGradient) {
  const auto optimizer = Make(GetParam(), {{"lr", "0.05"}});
  EXPECT_EQ(optimizer->base_learning_rate(), 0.05);
  Trained shard(*optimizer, {1, 1});
  shard.Step(0.05, {2, -2});
  EXPECT_LT(shard.weights()[0], 1);
  EXPECT_GT(shard.weights()[1], 1);
}

TEST_P(EveryOptimizer, LearningRateZeroChangesNoWeight) {
  const auto optimizer = Make(GetParam(), {{"lr", "0.05"}, {"weight_decay", "0.1"}});
  Trained shard(*optimizer, {1, -1});
  shard.Step(0, {2, -2});
  EXPECT_EQ(shard.weights(), (Floats{1, -1}));
}

TEST_P(EveryOptimizer, RefusesUnknownOptions) {
  EXPECT_THAT(Refusal(GetParam(), {{"lr", "0.1"}, {"weight_decy", "0"}}),
              HasSubstr("did you mean `weight_decay`?"));
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryOptimizer, ::testing::ValuesIn(OptimizerRegistry::Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tessera
