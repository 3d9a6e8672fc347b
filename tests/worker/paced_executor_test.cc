#include "worker/paced_executor.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tessera {
namespace {

// Time that only passes when somebody sleeps, or is told to.
struct FakeTime {
  absl::Time now = absl::UnixEpoch();
  absl::Duration slept;
  PaceClock clock() {
    return {[this] { return now; },
            [this](absl::Duration duration) {
              now += duration;
              slept += duration;
            }};
  }
};

std::shared_ptr<const nn::Graph> TwoLayers() {
  nn::LayerSpec flatten{.kind = "flatten"};
  nn::LayerSpec hidden{.name = "fc1", .kind = "linear", .options = {{"out_features", "3"}}};
  nn::LayerSpec last{.name = "fc2", .kind = "linear", .options = {{"out_features", "2"}}};
  absl::StatusOr<nn::Graph> graph = nn::Graph::Create({flatten, hidden, last}, {1, 2, 2}, 2);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return std::make_shared<const nn::Graph>(*std::move(graph));
}

// A step of 10 ms of forward, 10 ms of backward for each of two blocks.
class TimedExecutor : public nn::Executor {
 public:
  explicit TimedExecutor(FakeTime* time) : time_(time) {}
  absl::StatusOr<nn::StepResult> Step(const nn::Batch&, const nn::StepKey&,
                                      nn::ParameterExchange* exchange) override {
    EXPECT_TRUE(exchange->Weights(0).ok());
    time_->now += absl::Milliseconds(10);
    for (int block : {1, 0}) {
      exchange->Gradient(block);
      time_->now += absl::Milliseconds(10);
      EXPECT_TRUE(exchange->GradientReady(block).ok());
    }
    return nn::StepResult{.loss = 7, .correct = 1};
  }
  absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch&, nn::ParameterExchange*) override {
    return nn::EvaluationResult{.loss_sum = 3, .correct = 2};
  }
  std::string Fingerprint() const override { return "timed"; }

 private:
  FakeTime* const time_;
};

// Weights take 100 ms to come; remembers when gradients left.
class SlowWire : public nn::ParameterExchange {
 public:
  explicit SlowWire(FakeTime* time) : time_(time), values_(15, 1.0F) {}
  absl::StatusOr<absl::Span<const float>> Weights(int) override {
    time_->now += absl::Milliseconds(100);
    return absl::MakeConstSpan(values_);
  }
  absl::Span<float> Gradient(int) override { return absl::MakeSpan(values_); }
  absl::Status GradientReady(int block) override {
    left.push_back({block, absl::ToInt64Milliseconds(time_->now - absl::UnixEpoch())});
    return absl::OkStatus();
  }
  const std::vector<float>& values() const { return values_; }

  std::vector<std::pair<int, int64_t>> left;

 private:
  FakeTime* const time_;
  std::vector<float> values_;
};

TEST(PacedExecutor, EveryGradientLeavesAsLateAsASlowWorkerWouldMakeIt) {
  FakeTime time;
  SlowWire wire(&time);
  PacedExecutor executor(std::make_unique<TimedExecutor>(&time), TwoLayers(), {.slowdown = 4}, time.clock());
  const absl::StatusOr<nn::StepResult> result = executor.Step({}, {}, &wire);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->loss, 7);
  using Left = std::vector<std::pair<int, int64_t>>;
  EXPECT_EQ(wire.left, (Left{{1, 100 + 4 * 20}, {0, 100 + 4 * 30}})) << "waiting for weights is not slowed";
}

TEST(PacedExecutor, WithoutSlowdownNothingSleeps) {
  FakeTime time;
  SlowWire wire(&time);
  PacedExecutor executor(std::make_unique<TimedExecutor>(&time), TwoLayers(), {}, time.clock());
  ASSERT_TRUE(executor.Step({}, {}, &wire).ok());
  EXPECT_EQ(time.slept, absl::ZeroDuration());
}

TEST(PacedExecutor, AnEmulatedStepWaitsComputesNothingAndPushesZerosFromTheLastLayerDown) {
  FakeTime time;
  SlowWire wire(&time);
  PacedExecutor executor(std::make_unique<TimedExecutor>(&time), TwoLayers(),
                         {.slowdown = 3, .emulated_step = absl::Milliseconds(20)}, time.clock());
  ASSERT_TRUE(executor.Step({}, {}, &wire).ok());
  EXPECT_EQ(time.slept, absl::Milliseconds(60));
  ASSERT_EQ(wire.left.size(), 2U);
  EXPECT_EQ(wire.left[0].first, 1);
  EXPECT_EQ(wire.left[1].first, 0);
  EXPECT_EQ(wire.values(), std::vector<float>(15, 0.0F));
}

TEST(PacedExecutor, OneStepInSoManyIsSlowAnotherForEachReplica) {
  const auto slow_clocks = [](ReplicaId replica) {
    std::vector<Clock> slow;
    for (Clock clock = 0; clock < 12; ++clock) {
      FakeTime time;
      SlowWire wire(&time);
      PacedExecutor executor(std::make_unique<TimedExecutor>(&time), TwoLayers(),
                             {.slowdown = 2, .every = 6, .emulated_step = absl::Milliseconds(10)},
                             time.clock());
      EXPECT_TRUE(executor.Step({}, {.replica = replica, .clock = clock}, &wire).ok());
      if (time.slept == absl::Milliseconds(20)) slow.push_back(clock);
    }
    return slow;
  };
  EXPECT_EQ(slow_clocks(0), (std::vector<Clock>{0, 6}));
  EXPECT_EQ(slow_clocks(1), (std::vector<Clock>{4, 10}));
}

TEST(PacedExecutor, EvaluationIsNeverSlowed) {
  FakeTime time;
  SlowWire wire(&time);
  PacedExecutor executor(std::make_unique<TimedExecutor>(&time), TwoLayers(), {.slowdown = 4}, time.clock());
  EXPECT_EQ(executor.Evaluate({}, &wire)->correct, 2);
  EXPECT_EQ(time.slept, absl::ZeroDuration());
}

}  // namespace
}  // namespace tessera
