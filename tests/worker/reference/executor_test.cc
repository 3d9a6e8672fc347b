// What the reference executor promises beyond its numbers: the order of its calls, its errors, evaluation.
#include "worker/nn/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/worker/nn/memory_exchange.h"

namespace tessera::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Event = MemoryExchange::Event;

// Blocks: 0 conv, 1 bn's weights, 2 bn's statistics, 3 fc.
class ReferenceExecutor : public testing::Test {
 protected:
  ReferenceExecutor() {
    for (size_t block = 0; block < exchange_.weights.size(); ++block) {
      const RandomStream stream(block, RandomPurpose::kInitialWeights);
      for (size_t i = 0; i < exchange_.weights[block].size(); ++i) {
        exchange_.weights[block][i] = stream.Uniform(i) + (block == 2 ? 0.5f : -0.5f);
      }
    }
    const RandomStream stream(9, RandomPurpose::kAugmentation);
    for (size_t i = 0; i < images_.size(); ++i) images_[i] = stream.Uniform(i);
  }

  absl::StatusOr<StepResult> Step() { return executor_->Step({images_, labels_}, {}, &exchange_); }
  absl::StatusOr<EvaluationResult> Evaluate() { return executor_->Evaluate({images_, labels_}, &exchange_); }

  const std::shared_ptr<const Graph> graph_ = std::make_shared<const Graph>(
      *Graph::Create({{.name = "conv", .kind = "conv2d", .options = {{"out_channels", "2"}, {"kernel", "3"}}},
                      {.name = "bn", .kind = "batch_norm"},
                      {.name = "relu", .kind = "relu"},
                      {.name = "pool", .kind = "global_avg_pool"},
                      {.name = "fc", .kind = "linear", .options = {{"out_features", "3"}}}},
                     {1, 5, 5}, 3));
  const std::unique_ptr<Executor> executor_ =
      *ExecutorRegistry::Create("executor", "reference", graph_, ExecutorOptions());
  MemoryExchange exchange_{*graph_};
  std::vector<float> images_ = std::vector<float>(4 * 25);
  std::vector<int32_t> labels_ = {0, 1, 2, 1};
};

TEST_F(ReferenceExecutor, GradientsAreReadyBeforeTheBackwardOfTheLayerBelow) {
  ASSERT_TRUE(Step().ok());
  using enum Event::Kind;
  EXPECT_THAT(exchange_.events,
              ElementsAre(Event{kWeights, 0}, Event{kWeights, 1}, Event{kWeights, 3}, Event{kGradient, 3},
                          Event{kReady, 3}, Event{kGradient, 1}, Event{kReady, 1}, Event{kGradient, 2},
                          Event{kReady, 2}, Event{kGradient, 0}, Event{kReady, 0}));
}

TEST_F(ReferenceExecutor, WritesEveryElementOfEveryGradient) {
  ASSERT_TRUE(Step().ok());
  for (const std::vector<float>& gradient : exchange_.gradients) {
    for (float value : gradient) ASSERT_TRUE(std::isfinite(value));
  }
}

TEST_F(ReferenceExecutor, TheSameCallsGiveTheSameBitsWhateverRanBefore) {
  const auto first = Step();
  ASSERT_TRUE(first.ok());
  const std::vector<std::vector<float>> gradients = exchange_.gradients;
  ASSERT_TRUE(Evaluate().ok());
  const auto second = Step();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(first->loss, second->loss);
  EXPECT_EQ(gradients, exchange_.gradients);
}

TEST_F(ReferenceExecutor, EvaluationSumsTheLossesOfSingleSamples) {
  const auto together = Evaluate();
  ASSERT_TRUE(together.ok()) << together.status();
  double loss_sum = 0;
  int64_t correct = 0;
  for (size_t n = 0; n < labels_.size(); ++n) {
    const absl::Span<const float> image = absl::MakeConstSpan(images_).subspan(n * 25, 25);
    const auto alone = executor_->Evaluate({image, absl::MakeConstSpan(labels_).subspan(n, 1)}, &exchange_);
    ASSERT_TRUE(alone.ok());
    loss_sum += alone->loss_sum;
    correct += alone->correct;
  }
  EXPECT_EQ(together->loss_sum, loss_sum);
  EXPECT_EQ(together->correct, correct);
}

TEST_F(ReferenceExecutor, EvaluationReadsRunningStatisticsAndTrainingDoesNot) {
  const auto step = Step();
  const auto evaluation = Evaluate();
  ASSERT_TRUE(step.ok() && evaluation.ok());
  for (float& value : exchange_.weights[2]) value += 1;
  EXPECT_EQ(Step()->loss, step->loss);
  EXPECT_NE(Evaluate()->loss_sum, evaluation->loss_sum);
}

TEST_F(ReferenceExecutor, RefusesABatchThatDoesNotFit) {
  labels_[2] = 3;
  EXPECT_EQ(Step().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Evaluate().status().code(), absl::StatusCode::kInvalidArgument);
  labels_.clear();
  EXPECT_EQ(Step().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ReferenceExecutor, NamesTheFirstLayerWhoseOutputIsNotFinite) {
  exchange_.weights[1][0] = std::numeric_limits<float>::infinity();
  const auto step = Step();
  EXPECT_EQ(step.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(step.status().message(), "layer `bn`: output is not finite");
  exchange_.weights[0][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Step().status().message(), "layer `conv`: output is not finite");
  EXPECT_EQ(Evaluate().status().message(), "layer `conv`: output is not finite");
}

TEST_F(ReferenceExecutor, ANotFiniteStepPushesNothing) {
  exchange_.weights[3][0] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(Step().status().message(), "layer `fc`: output is not finite");
  for (const Event& event : exchange_.events) EXPECT_EQ(event.kind, Event::Kind::kWeights);
}

TEST_F(ReferenceExecutor, ErrorsOfTheExchangeEndTheStep) {
  exchange_.failing_weights = 1;
  EXPECT_EQ(Step().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(exchange_.events,
              ElementsAre(Event{Event::Kind::kWeights, 0}, Event{Event::Kind::kWeights, 1}));
  exchange_.failing_weights = -1;
  exchange_.failing_gradient = 3;
  EXPECT_EQ(Step().status().message(), "no gradient");
  EXPECT_EQ(exchange_.events.back(), (Event{Event::Kind::kReady, 3}));
}

TEST_F(ReferenceExecutor, CountsTheLowestOfEqualPredictions) {
  for (std::vector<float>& block : exchange_.weights) std::fill(block.begin(), block.end(), 0.0f);
  EXPECT_EQ(Step()->correct, 1);
  EXPECT_NEAR(Step()->loss, std::log(3.0), 1e-7);
}

TEST_F(ReferenceExecutor, FingerprintNamesTheLibraryThatMayChangeBits) {
  EXPECT_THAT(executor_->Fingerprint(), HasSubstr("reference"));
  EXPECT_THAT(executor_->Fingerprint(), HasSubstr("glibc"));
}

}  // namespace
}  // namespace tessera::nn
