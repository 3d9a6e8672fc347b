#include "server/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>
#include <set>
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
  Trained(const Optimizer& optimizer, Floats weights) : optimizer_(optimizer), weights_(std::move(weights)) {
    for (const OptimizerSlot& slot : optimizer.slots()) slots_.emplace_back(weights_.size(), slot.initial);
  }

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

TEST(Optimizer, NesterovTakesTheStepsOfItsFormula) {
  const auto nesterov = Make("nesterov", {{"lr", "0.1"}, {"momentum", "0.5"}, {"weight_decay", "0.5"}});
  Trained shard(*nesterov, {2, -4});
  shard.Step(0.5, {1, 0});
  EXPECT_EQ(shard.slots()[0], (Floats{2, -2}));
  EXPECT_EQ(shard.weights(), (Floats{0.5F, -2.5F}));  // by lr * (2 + 2/2), lr * (-2 - 2/2)
  shard.Step(0.25, {0.75F, 1.25F});
  EXPECT_EQ(shard.slots()[0], (Floats{2, -1}));  // 2/2 + 1, -2/2 + 0
  EXPECT_EQ(shard.weights(), (Floats{0, -2.375F}));
}

// The default eps of adagrad, rmsprop and adam is lost beside numbers of this size; where one is given it
// shows.
TEST(Optimizer, AdagradTakesTheStepsOfItsFormula) {
  const auto adagrad = Make("adagrad", {{"lr", "0.1"}, {"lr_decay", "1"}, {"weight_decay", "0.5"}});
  Trained shard(*adagrad, {2, -2});
  shard.Step(0.5, {2, -3});
  EXPECT_EQ(shard.slots()[0], (Floats{9, 16}));  // (2 + 1)^2, (-3 - 1)^2
  EXPECT_EQ(shard.weights(), (Floats{1.5F, -1.5F}));
  shard.Step(1, {3.25F, 3.75F});  // g = 4, 3; the second step's lr is halved
  EXPECT_EQ(shard.slots()[0], (Floats{25, 25}));
  EXPECT_EQ(shard.weights(), (Floats{1.5F - 2.0F / 5, -1.5F - 1.5F / 5}));
}

TEST(Optimizer, AdagradStartsFromItsInitialSum) {
  const auto adagrad = Make("adagrad", {{"lr", "0.1"}, {"initial_accumulator_value", "7"}, {"eps", "1"}});
  Trained shard(*adagrad, {2});
  EXPECT_EQ(shard.slots()[0], (Floats{7}));
  shard.Step(0.5, {3});
  EXPECT_EQ(shard.slots()[0], (Floats{16}));
  EXPECT_EQ(shard.weights(), (Floats{2 - 1.5F / 5}));
}

TEST(Optimizer, RmspropTakesTheStepsOfItsFormula) {
  const auto rmsprop = Make("rmsprop", {{"lr", "0.1"}, {"alpha", "0.75"}, {"weight_decay", "0.5"}});
  ASSERT_EQ(rmsprop->slots().size(), 1U);
  Trained shard(*rmsprop, {2, -2});
  shard.Step(0.5, {3, -7});
  EXPECT_EQ(shard.slots()[0], (Floats{4, 16}));  // (3 + 1)^2 / 4, (-7 - 1)^2 / 4
  EXPECT_EQ(shard.weights(), (Floats{1, -1}));   // each by lr * g / sqrt = lr * 2
  shard.Step(0.5, {1.5F, -7.5F});
  EXPECT_EQ(shard.slots()[0], (Floats{4, 28}));  // 3/4 4 + 2^2 / 4, 3/4 16 + 8^2 / 4
  EXPECT_EQ(shard.weights(), (Floats{0.5F, -1 + 4 / std::sqrt(28.0F)}));
}

TEST(Optimizer, RmspropWithMomentumAddsUpScaledGradients) {
  const auto rmsprop = Make("rmsprop", {{"lr", "0.1"}, {"alpha", "0.75"}, {"momentum", "0.5"}, {"eps", "1"}});
  ASSERT_EQ(rmsprop->slots().size(), 2U);
  Trained shard(*rmsprop, {2});
  shard.Step(0.5, {6});
  EXPECT_EQ(shard.slots()[0], (Floats{9}));
  EXPECT_EQ(shard.slots()[1], (Floats{1.5F}));  // 6 / (3 + 1)
  EXPECT_EQ(shard.weights(), (Floats{1.25F}));
  shard.Step(0.25, {0});
  EXPECT_EQ(shard.slots()[1], (Floats{0.75F}));
  EXPECT_EQ(shard.weights(), (Floats{1.0625F}));
}

TEST(Optimizer, CenteredRmspropDividesByTheDeviation) {
  const auto rmsprop = Make("rmsprop", {{"lr", "0.1"}, {"alpha", "0.5"}, {"centered", "true"}});
  Trained shard(*rmsprop, {2, 2});
  shard.Step(0.5, {4, -8});
  EXPECT_EQ(shard.slots()[0], (Floats{8, 32}));
  EXPECT_EQ(shard.slots()[1], (Floats{2, -4}));
  EXPECT_EQ(shard.weights(), (Floats{1, 3}));  // sqrt(8 - 4) = 2, sqrt(32 - 16) = 4

  const auto both =
      Make("rmsprop", {{"lr", "0.1"}, {"alpha", "0.5"}, {"centered", "true"}, {"momentum", "0.5"}});
  ASSERT_EQ(both->slots().size(), 3U);
  Trained heavy(*both, {2, 2});
  heavy.Step(0.5, {4, -8});
  EXPECT_EQ(heavy.slots()[1], (Floats{2, -2}));  // the buffer
  EXPECT_EQ(heavy.slots()[2], (Floats{2, -4}));  // the mean
  EXPECT_EQ(heavy.weights(), (Floats{1, 3}));
}

TEST(Optimizer, CenteredRmspropOutlivesAConstantGradient) {
  // The variance of a constant is zero, and rounding makes it negative for some of these.
  const auto rmsprop = Make("rmsprop", {{"lr", "0.001"}, {"alpha", "0.9"}, {"centered", "true"}});
  Floats gradient;
  for (int i = 1; i <= 100; ++i) gradient.push_back(static_cast<float>(i) / 37);
  Trained shard(*rmsprop, Floats(gradient.size(), 1));
  for (int step = 0; step < 300; ++step) shard.Step(0.001, gradient);
  for (const float weight : shard.weights()) EXPECT_TRUE(std::isfinite(weight));
}

TEST(Optimizer, AdamTakesTheStepsOfItsFormula) {
  const auto adam =
      Make("adam", {{"lr", "0.1"}, {"beta1", "0.5"}, {"beta2", "0.75"}, {"weight_decay", "0.5"}});
  Trained shard(*adam, {2, -2});
  shard.Step(0.5, {3, -7});
  EXPECT_EQ(shard.slots()[0], (Floats{2, -4}));       // halves of 3 + 1, -7 - 1
  EXPECT_EQ(shard.slots()[1], (Floats{4, 16}));       // quarters of their squares
  EXPECT_EQ(shard.weights(), (Floats{1.5F, -1.5F}));  // by lr: both biases corrected
  shard.Step(0.75, {1.25F, -7.25F});                  // g = 2, -8; lr / (1 - 1/4) = 1
  EXPECT_EQ(shard.slots()[0], (Floats{2, -6}));
  EXPECT_EQ(shard.slots()[1], (Floats{4, 28}));
  const float root_of_bias = std::sqrt(0.4375F);  // 1 - (3/4)^2
  EXPECT_EQ(shard.weights(),
            (Floats{1.5F - 2 / (2 / root_of_bias), -1.5F + 6 / (std::sqrt(28.0F) / root_of_bias)}));
}

TEST(Optimizer, AdamDividesByTheRootPlusEps) {
  const auto adam = Make("adam", {{"lr", "0.1"}, {"beta1", "0"}, {"beta2", "0"}, {"eps", "1"}});
  Trained shard(*adam, {2});
  shard.Step(0.5, {3});
  EXPECT_EQ(shard.weights(), (Floats{2 - 1.5F / 4}));
}

TEST(Optimizer, AdamwDecaysTheWeightAndNotTheGradient) {
  const auto adamw =
      Make("adamw", {{"lr", "0.1"}, {"beta1", "0.5"}, {"beta2", "0.75"}, {"weight_decay", "0.5"}});
  Trained shard(*adamw, {2, -2});
  shard.Step(0.5, {4, -8});
  EXPECT_EQ(shard.slots()[0], (Floats{2, -4}));
  EXPECT_EQ(shard.slots()[1], (Floats{4, 16}));
  EXPECT_EQ(shard.weights(), (Floats{1, -1}));  // 3/4 w, then by lr
  shard.Step(0.25, {-2, 4});                    // both means become 0
  EXPECT_EQ(shard.slots()[0], (Floats{0, 0}));
  EXPECT_EQ(shard.weights(), (Floats{0.875F, -0.875F}));
}

TEST(Optimizer, DefaultsAreThoseOfTheirPages) {
  const std::vector<std::pair<std::string, Options>> pages = {
      {"sgd", {{"weight_decay", "0"}}},
      {"momentum", {{"momentum", "0.9"}, {"weight_decay", "0"}}},
      {"nesterov", {{"momentum", "0.9"}, {"weight_decay", "0"}}},
      {"adagrad",
       {{"lr_decay", "0"}, {"weight_decay", "0"}, {"initial_accumulator_value", "0"}, {"eps", "1e-10"}}},
      {"rmsprop",
       {{"alpha", "0.99"}, {"eps", "1e-8"}, {"weight_decay", "0"}, {"momentum", "0"}, {"centered", "false"}}},
      {"adam", {{"beta1", "0.9"}, {"beta2", "0.999"}, {"eps", "1e-8"}, {"weight_decay", "0"}}},
      {"adamw", {{"beta1", "0.9"}, {"beta2", "0.999"}, {"eps", "1e-8"}, {"weight_decay", "0.01"}}},
  };
  std::vector<std::string> names;
  for (const auto& [name, page] : pages) {
    Options options = page;
    options.Set("lr", {"0.1", ""});
    const auto given = Make(name, options);
    const auto by_default = Make(name, {{"lr", "0.1"}});
    ASSERT_EQ(given->slots().size(), by_default->slots().size()) << name;
    Trained a(*given, {1, 2, 1e-3F});
    Trained b(*by_default, {1, 2, 1e-3F});
    for (int step = 0; step < 3; ++step) {
      a.Step(0.1, {0.3F, -0.7F, 1e-7F});
      b.Step(0.1, {0.3F, -0.7F, 1e-7F});
    }
    EXPECT_TRUE(SameBits(a.weights(), b.weights())) << name;
    names.push_back(name);
  }
  EXPECT_THAT(names, testing::UnorderedElementsAreArray(OptimizerRegistry::Names()));
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
  EXPECT_THAT(Refusal("nesterov", {{"lr", "0.1"}, {"momentum", "0"}}),
              HasSubstr("`momentum` must be above 0"));
  EXPECT_THAT(Refusal("adagrad", {{"lr", "0.1"}, {"lr_decay", "-1"}}), HasSubstr("`lr_decay`"));
  EXPECT_THAT(Refusal("adagrad", {{"lr", "0.1"}, {"initial_accumulator_value", "-1"}}),
              HasSubstr("`initial_accumulator_value`"));
  EXPECT_THAT(Refusal("rmsprop", {{"lr", "0.1"}, {"alpha", "1"}}), HasSubstr("`alpha` must be below 1"));
  EXPECT_THAT(Refusal("rmsprop", {{"lr", "0.1"}, {"centered", "1"}}),
              HasSubstr("`centered` must be true or false"));
  EXPECT_THAT(Refusal("adam", {{"lr", "0.1"}, {"beta1", "1"}}), HasSubstr("`beta1` must be below 1"));
  EXPECT_THAT(Refusal("adamw", {{"lr", "0.1"}, {"beta2", "1"}}), HasSubstr("`beta2` must be below 1"));
  for (const std::string name : {"adagrad", "rmsprop", "adam", "adamw"}) {
    EXPECT_THAT(Refusal(name, {{"lr", "0.1"}, {"eps", "0"}}), HasSubstr("`eps`")) << name;
  }
  EXPECT_THAT(Refusal("sgd", {{"lr", "0.1"}, {"momentum", "0.9"}}), HasSubstr("unknown option `momentum`"));
  EXPECT_THAT(Refusal("momentun", {{"lr", "0.1"}}), HasSubstr("did you mean `momentum`?"));
}

TEST(CreateOptimizers, ExemptsFromADefaultDecayToo) {
  const Options options = {{"lr", "0.05"}, {"decay_bias_and_norm", "false"}};
  EXPECT_NE(CreateOptimizers("adamw", options)->undecayed, nullptr);
  EXPECT_EQ(CreateOptimizers("adam", options)->undecayed, nullptr);
}

TEST(CreateOptimizers, NamesWhatIsWrong) {
  const auto refusal = [](const std::string& name, const Options& options) {
    const absl::Status status = CreateOptimizers(name, options).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(refusal("sgd", {{"lr", "0.1"}, {"decay_bias_and_norm", "no"}}),
              HasSubstr("`decay_bias_and_norm` must be true or false, not `no`"));
  EXPECT_THAT(refusal("sgd", {{"lr", "0.1"}, {"decay_bias_and_norms", "false"}}),
              HasSubstr("did you mean `decay_bias_and_norm`?"));
  EXPECT_THAT(refusal("adan", {{"lr", "0.1"}}), HasSubstr("did you mean `adam`?"));
  EXPECT_THAT(refusal("sgd", {{"decay_bias_and_norm", "false"}}), HasSubstr("missing `lr`"));
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

// A checkpoint finds the state of a shard by these names, beside that of adaptive delay compensation.
TEST_P(EveryOptimizer, NamesEachSlotOnce) {
  std::set<std::string> names = {"mean_square"};
  for (const OptimizerSlot& slot : Make(GetParam(), {{"lr", "0.05"}})->slots()) {
    EXPECT_TRUE(names.insert(slot.name).second) << slot.name;
  }
}

TEST_P(EveryOptimizer, RefusesUnknownOptions) {
  EXPECT_THAT(Refusal(GetParam(), {{"lr", "0.1"}, {"weight_decy", "0"}}),
              HasSubstr("did you mean `weight_decay`?"));
}

TEST_P(EveryOptimizer, DecaysAllParametersByDefault) {
  const OptimizerPair pair = CreateOptimizers(GetParam(), {{"lr", "0.05"}, {"weight_decay", "0.1"}}).value();
  EXPECT_EQ(pair.all->weight_decay(), 0.1);
  EXPECT_EQ(pair.undecayed, nullptr);
}

TEST_P(EveryOptimizer, ExemptsBiasesAndNormsByOption) {
  const OptimizerPair pair =
      CreateOptimizers(GetParam(),
                       {{"lr", "0.05"}, {"weight_decay", "0.1"}, {"decay_bias_and_norm", "false"}})
          .value();
  ASSERT_NE(pair.undecayed, nullptr);
  EXPECT_EQ(pair.all->weight_decay(), 0.1);
  EXPECT_EQ(pair.undecayed->weight_decay(), 0);
  EXPECT_EQ(pair.undecayed->base_learning_rate(), 0.05);
  EXPECT_EQ(pair.undecayed->slots().size(), pair.all->slots().size());
  const auto without = Make(GetParam(), {{"lr", "0.05"}, {"weight_decay", "0"}});
  Trained decayed(*pair.all, {1, -2});
  Trained exempt(*pair.undecayed, {1, -2});
  Trained expected(*without, {1, -2});
  for (Trained* shard : {&decayed, &exempt, &expected}) {
    shard->Step(0.05, {0.5F, 0.25F});
    shard->Step(0.05, {-0.5F, 1});
  }
  EXPECT_TRUE(SameBits(exempt.weights(), expected.weights()));
  EXPECT_NE(decayed.weights(), expected.weights());
}

TEST_P(EveryOptimizer, ExemptsNothingWhereNothingDecays) {
  const OptimizerPair pair =
      CreateOptimizers(GetParam(), {{"lr", "0.05"}, {"weight_decay", "0"}, {"decay_bias_and_norm", "false"}})
          .value();
  EXPECT_EQ(pair.undecayed, nullptr);
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryOptimizer, ::testing::ValuesIn(OptimizerRegistry::Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tessera
