// What the cpu executor promises beyond its numbers: the order of its calls, its errors, the same bits.
#include "worker/nn/executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <dnnl.hpp>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/worker/cpu/agreement.h"
#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using nn::MemoryExchange;
using testing::ElementsAre;
using testing::HasSubstr;
using Event = MemoryExchange::Event;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::shared_ptr<const nn::Graph> SmallNetwork() {
  return MakeGraph({{.name = "conv", .kind = "conv2d", .options = {{"out_channels", "4"}, {"kernel", "3"}}},
                    {.name = "bn", .kind = "batch_norm"},
                    {.name = "relu", .kind = "relu"},
                    {.name = "pool", .kind = "max_pool", .options = {{"kernel", "2"}}},
                    {.name = "rows", .kind = "flatten"},
                    {.name = "fc1", .kind = "linear", .options = {{"out_features", "6"}}},
                    {.name = "relu1", .kind = "relu"},
                    {.name = "fc2", .kind = "linear", .options = {{"out_features", "3"}}}},
                   {1, 8, 8});
}

class CpuExecutor : public testing::Test {
 protected:
  enum Block { kConv, kBatchNorm, kStatistics, kFc1, kFc2 };

  absl::StatusOr<nn::StepResult> Step(const Samples& samples) {
    return executor_->Step(samples.batch(), {}, &exchange_);
  }
  absl::StatusOr<nn::StepResult> Step() { return Step(samples_); }
  absl::StatusOr<nn::EvaluationResult> Evaluate(const Samples& samples) {
    return executor_->Evaluate(samples.batch(), &exchange_);
  }
  // The message of a step and of an evaluation that both end with kOutOfRange.
  std::string NotFiniteMessage() {
    const absl::Status step = Step().status(), evaluation = Evaluate(samples_).status();
    EXPECT_EQ(step.code(), absl::StatusCode::kOutOfRange) << step;
    EXPECT_EQ(evaluation, step);
    return std::string(step.message());
  }

  const std::shared_ptr<const nn::Graph> graph_ = SmallNetwork();
  const std::unique_ptr<nn::Executor> executor_ = MakeExecutor("cpu", graph_);
  MemoryExchange exchange_ = RandomWeights(*graph_);
  Samples samples_{*graph_, 6};
};

TEST_F(CpuExecutor, GradientsAreReadyBeforeTheBackwardOfTheLayerBelow) {
  ASSERT_TRUE(Step().ok());
  using enum Event::Kind;
  EXPECT_THAT(exchange_.events,
              ElementsAre(Event{kWeights, kConv}, Event{kWeights, kBatchNorm}, Event{kWeights, kFc1},
                          Event{kWeights, kFc2}, Event{kGradient, kFc2}, Event{kReady, kFc2},
                          Event{kGradient, kFc1}, Event{kReady, kFc1}, Event{kGradient, kBatchNorm},
                          Event{kGradient, kStatistics}, Event{kReady, kBatchNorm},
                          Event{kReady, kStatistics}, Event{kGradient, kConv}, Event{kReady, kConv}));
}

// At each GradientReady the block's gradient is whole and those of the layers below are not begun.
TEST_F(CpuExecutor, AReadyGradientIsCompleteAndThoseBelowAreNotBegun) {
  class Watcher final : public nn::ParameterExchange {
   public:
    explicit Watcher(MemoryExchange* exchange) : exchange_(exchange) {}
    absl::StatusOr<absl::Span<const float>> Weights(int block) override { return exchange_->Weights(block); }
    absl::Span<float> Gradient(int block) override { return exchange_->Gradient(block); }
    absl::Status GradientReady(int block) override {
      const auto is_nan = [](float value) { return std::isnan(value); };
      EXPECT_TRUE(std::ranges::none_of(exchange_->gradients[block], is_nan)) << block;
      const int below = block == kStatistics ? kConv : block - 1;
      for (int b = 0; b <= below && block != kBatchNorm; ++b) {
        EXPECT_TRUE(std::ranges::all_of(exchange_->gradients[b], is_nan)) << b << " below " << block;
      }
      return exchange_->GradientReady(block);
    }

   private:
    MemoryExchange* const exchange_;
  };
  Watcher watcher(&exchange_);
  ASSERT_TRUE(executor_->Step(samples_.batch(), {}, &watcher).ok());
}

TEST_F(CpuExecutor, EvaluationAsksForRunningStatisticsAndWritesNothing) {
  ASSERT_TRUE(Evaluate(samples_).ok());
  using enum Event::Kind;
  EXPECT_THAT(exchange_.events,
              ElementsAre(Event{kWeights, kConv}, Event{kWeights, kBatchNorm}, Event{kWeights, kStatistics},
                          Event{kWeights, kFc1}, Event{kWeights, kFc2}));
}

TEST_F(CpuExecutor, TheSameCallsGiveTheSameBitsWhateverRanBefore) {
  const auto first = Step();
  ASSERT_TRUE(first.ok());
  const std::vector<std::vector<float>> gradients = exchange_.gradients;
  // More sizes than plans are kept, so that the first plan is made anew.
  for (int64_t size : {1, 3, 8, 13, 2}) {
    ASSERT_TRUE(Step(Samples(*graph_, size)).ok());
    ASSERT_TRUE(Evaluate(Samples(*graph_, size + 1)).ok());
  }
  const auto second = Step();
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(first->loss, second->loss);
  EXPECT_EQ(gradients, exchange_.gradients);
}

TEST_F(CpuExecutor, AnotherThreadAndAnotherExecutorGiveTheSameBits) {
  ASSERT_TRUE(Step().ok());
  const std::vector<std::vector<float>> gradients = exchange_.gradients;
  std::thread([this] {
    omp_set_num_threads(3);
    ASSERT_TRUE(MakeExecutor("cpu", graph_)->Step(samples_.batch(), {}, &exchange_).ok());
  }).join();
  EXPECT_EQ(gradients, exchange_.gradients);
}

TEST_F(CpuExecutor, LeavesTheThreadsOfItsCallerAsTheyWere) {
  omp_set_num_threads(2);
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(omp_get_max_threads(), 2);
}

TEST_F(CpuExecutor, SeveralThreadsAgreeWithOne) {
  ASSERT_TRUE(Step().ok());
  MemoryExchange exchange = RandomWeights(*graph_);
  const auto executor = MakeExecutor("cpu", graph_, /*threads=*/3);
  ASSERT_TRUE(executor->Step(samples_.batch(), {}, &exchange).ok());
  for (size_t block = 0; block < exchange.gradients.size(); ++block) {
    ExpectClose(exchange.gradients[block], exchange_.gradients[block]);
  }
}

TEST_F(CpuExecutor, EvaluatesAnyBatchSizeAsTheReference) {
  const auto reference = MakeExecutor("reference", graph_);
  for (int64_t size : {1, 7, 64, 3, 33, 1}) {
    const Samples samples(*graph_, size, /*seed=*/static_cast<uint64_t>(size));
    const auto actual = Evaluate(samples);
    const auto expected = reference->Evaluate(samples.batch(), &exchange_);
    ASSERT_TRUE(actual.ok() && expected.ok());
    EXPECT_NEAR(actual->loss_sum, expected->loss_sum, 1e-5 * expected->loss_sum);
    EXPECT_EQ(actual->correct, expected->correct);
  }
}

TEST_F(CpuExecutor, EvaluationReadsRunningStatisticsAndTrainingDoesNot) {
  const auto step = Step();
  const auto evaluation = Evaluate(samples_);
  ASSERT_TRUE(step.ok() && evaluation.ok());
  for (float& value : exchange_.weights[kStatistics]) value += 1;
  EXPECT_EQ(Step()->loss, step->loss);
  EXPECT_NE(Evaluate(samples_)->loss_sum, evaluation->loss_sum);
}

TEST_F(CpuExecutor, CountsTheLowestOfEqualPredictions) {
  for (std::vector<float>& block : exchange_.weights) std::fill(block.begin(), block.end(), 0.0F);
  EXPECT_EQ(Step()->correct, std::ranges::count(samples_.labels, 0));
  EXPECT_NEAR(Step()->loss, std::log(3.0), 1e-7);
}

TEST_F(CpuExecutor, RefusesABatchThatDoesNotFit) {
  samples_.labels[2] = 3;
  EXPECT_EQ(Step().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Evaluate(samples_).status().code(), absl::StatusCode::kInvalidArgument);
  samples_.labels.clear();
  EXPECT_EQ(Step().status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CpuExecutor, NamesTheFirstLayerWhoseOutputIsNotFinite) {
  exchange_.weights[kFc2][0] = kInfinity;
  EXPECT_EQ(NotFiniteMessage(), "layer `fc2`: output is not finite");
  exchange_.weights[kBatchNorm][1] = kInfinity;
  EXPECT_EQ(NotFiniteMessage(), "layer `bn`: output is not finite");
  exchange_.weights[kConv][0] = -kInfinity;
  EXPECT_EQ(NotFiniteMessage(), "layer `conv`: output is not finite");
}

// Max-pooling and relu make numbers of NaN: with all outputs NaN, the loss would be that of the biases alone.
TEST_F(CpuExecutor, ANanIsNotHiddenByTheLayersAbove) {
  std::ranges::fill(exchange_.weights[kFc1], kNan);
  EXPECT_EQ(NotFiniteMessage(), "layer `fc1`: output is not finite");
  std::ranges::fill(exchange_.weights[kConv], kNan);
  EXPECT_EQ(NotFiniteMessage(), "layer `conv`: output is not finite");
}

TEST_F(CpuExecutor, ImagesThatAreNotFiniteAreTheFirstLayersFault) {
  samples_.inputs[0][5] = kNan;
  EXPECT_EQ(NotFiniteMessage(), "layer `conv`: output is not finite");
}

TEST_F(CpuExecutor, NamesTheLayerThatOverflows) {
  for (float& weight : exchange_.weights[kFc2]) weight *= 3e38F;
  for (float& weight : exchange_.weights[kFc1]) weight *= 3e3F;
  EXPECT_EQ(NotFiniteMessage(), "layer `fc2`: output is not finite");
  for (float& weight : exchange_.weights[kConv]) weight *= 3e38F;
  EXPECT_EQ(Step().status().message(), "layer `conv`: output is not finite");
}

TEST_F(CpuExecutor, ANotFiniteStepPushesNothingAndTheNextOneIsRight) {
  ASSERT_TRUE(Step().ok());
  const std::vector<std::vector<float>> gradients = exchange_.gradients;
  const float weight = std::exchange(exchange_.weights[kFc1][0], kNan);
  exchange_.events.clear();
  EXPECT_FALSE(Step().ok());
  for (const Event& event : exchange_.events) EXPECT_EQ(event.kind, Event::Kind::kWeights);
  exchange_.weights[kFc1][0] = weight;
  ASSERT_TRUE(Step().ok());
  EXPECT_EQ(gradients, exchange_.gradients);
}

TEST_F(CpuExecutor, ErrorsOfTheExchangeEndTheStep) {
  exchange_.failing_weights = kBatchNorm;
  EXPECT_EQ(Step().status().message(), "no weights");
  EXPECT_EQ(exchange_.events.back(), (Event{Event::Kind::kWeights, kBatchNorm}));
  exchange_.failing_weights = -1;
  exchange_.failing_gradient = kFc1;
  EXPECT_EQ(Step().status().message(), "no gradient");
  EXPECT_EQ(exchange_.events.back(), (Event{Event::Kind::kReady, kFc1}));
}

TEST_F(CpuExecutor, FingerprintNamesWhatMayChangeBits) {
  EXPECT_THAT(executor_->Fingerprint(), HasSubstr("cpu, oneDNN " + std::to_string(dnnl_version()->major)));
  EXPECT_THAT(executor_->Fingerprint(), HasSubstr("1 thread"));
  EXPECT_NE(executor_->Fingerprint(), MakeExecutor("cpu", graph_, /*threads=*/2)->Fingerprint());
}

TEST(CpuExecutorOptions, RefusesLessThanOneThread) {
  const auto executor =
      nn::ExecutorRegistry::Create("executor", "cpu", SmallNetwork(), nn::ExecutorOptions{.threads = 0});
  EXPECT_EQ(executor.status().code(), absl::StatusCode::kInvalidArgument);
}

// Two layers that only this file knows: one without an op, and one whose op fails as oneDNN does.
class Identity final : public nn::Layer {
 public:
  explicit Identity(std::string kind) : kind_(std::move(kind)) {}
  std::string kind() const override { return kind_; }
  absl::StatusOr<nn::LayerShape> Infer(absl::Span<const Shape> inputs) const override {
    return nn::LayerShape{inputs[0], {}};
  }

 private:
  const std::string kind_;
};

nn::LayerRegistry::Entry RegisterIdentity(const char* kind) {
  return {kind, [kind](const Options&) -> absl::StatusOr<std::unique_ptr<nn::Layer>> {
            return std::make_unique<Identity>(kind);
          }};
}

class FailingOp final : public LayerOp<Identity> {
 public:
  using LayerOp::LayerOp;
  void PlanForward(Planner& planner) override {
    planner.SetOutput(planner.Input(0));
    planner.Emit([](Run&) { throw dnnl::error(dnnl_runtime_error, "no luck"); }, {});
  }
  void PlanBackward(Planner& /*planner*/) override {}
};

class UnplannableOp final : public LayerOp<Identity> {
 public:
  using LayerOp::LayerOp;
  void PlanForward(Planner& /*planner*/) override { throw dnnl::error(dnnl_out_of_memory, "too large"); }
  void PlanBackward(Planner& /*planner*/) override {}
};

const nn::LayerRegistry::Entry kWithoutOp = RegisterIdentity("without_op");
const nn::LayerRegistry::Entry kFailing = RegisterIdentity("failing");
const nn::LayerRegistry::Entry kUnplannable = RegisterIdentity("unplannable");
const RegisterOp<FailingOp> kFailingOp("failing");
const RegisterOp<UnplannableOp> kUnplannableOp("unplannable");

absl::Status StepThrough(const std::string& kind) {
  const auto graph =
      MakeGraph({{.name = "odd", .kind = kind}, {.name = "pool", .kind = "global_avg_pool"}}, {3, 2, 2});
  MemoryExchange exchange(*graph);
  return MakeExecutor("cpu", graph)->Step(Samples(*graph, 2).batch(), {}, &exchange).status();
}

TEST(CpuExecutorErrors, ALayerWithoutAnOpIsRefusedByKind) {
  const absl::Status status = StepThrough("without_op");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("without_op"));
}

TEST(CpuExecutorErrors, ExceptionsOfOneDnnNameTheLayer) {
  EXPECT_EQ(StepThrough("failing"), absl::InternalError("layer `odd`: oneDNN: no luck"));
  EXPECT_EQ(StepThrough("unplannable"), absl::ResourceExhaustedError("layer `odd`: oneDNN: too large"));
}

}  // namespace
}  // namespace tessera::cpu
