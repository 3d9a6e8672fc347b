// What a worker's end, lost messages and broken connections do to a run: nothing, in the end.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/mutex.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/lossy_exchange.h"
#include "tests/integration/synthetic_job.h"

namespace tessera {
namespace {

constexpr int kReplicas = 4;
constexpr int64_t kSteps = 6;  // of each replica
constexpr char kDropping[] = "sync, drop_stragglers: 2";

// A job of two epochs of three steps in `mode`.
SyntheticJob MakeJob(const std::string& mode) {
  const TemporaryFolder folder;
  EXPECT_TRUE(WriteSyntheticData(folder.path(), 3 * kReplicas * 4, 10).ok());
  const std::string text = absl::StrReplaceAll(
      SyntheticJobText(folder.path(), "lenet5", kReplicas, 4, 1),
      {{"consistency: { mode: sync }", absl::StrCat("consistency: { mode: ", mode, " }")},
       {"epochs: 1", "epochs: 2\n  clip_norm: 0"},  // so that each layer is pushed by itself
       {"workers: 1", "workers: 2"}});
  absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(text);
  EXPECT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->plan.total_steps, kSteps);
  return *std::move(job);
}

// Ends sessions in the middle of a backward pass: when so many gradients have been made since the last time.
class MortalExecutor : public nn::Executor {
 public:
  MortalExecutor(std::unique_ptr<nn::Executor> executor, std::vector<int> lives)
      : executor_(std::move(executor)), lives_(std::move(lives)) {}

  absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                      nn::ParameterExchange* exchange) override {
    Watched watched(this, exchange);
    return executor_->Step(batch, key, &watched);
  }
  absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                nn::ParameterExchange* exchange) override {
    return executor_->Evaluate(batch, exchange);
  }
  std::string Fingerprint() const override { return executor_->Fingerprint(); }

 private:
  class Watched : public nn::ParameterExchange {
   public:
    Watched(MortalExecutor* mortal, nn::ParameterExchange* exchange) : mortal_(mortal), exchange_(exchange) {}
    absl::StatusOr<absl::Span<const float>> Weights(int block) override { return exchange_->Weights(block); }
    absl::Span<float> Gradient(int block) override { return exchange_->Gradient(block); }
    absl::Status GradientReady(int block) override {
      absl::Status status = exchange_->GradientReady(block);
      return status.ok() && mortal_->Dies() ? absl::AbortedError("killed by the test") : status;
    }

   private:
    MortalExecutor* const mortal_;
    nn::ParameterExchange* const exchange_;
  };

  bool Dies() {
    if (life_ == lives_.size() || ++made_ < lives_[life_]) return false;
    ++life_;
    made_ = 0;
    return true;
  }

  const std::unique_ptr<nn::Executor> executor_;
  const std::vector<int> lives_;
  size_t life_ = 0;
  int made_ = 0;  // gradients in this life
};

void ExpectSame(const InProcessResult& result, const InProcessResult& undisturbed) {
  ASSERT_EQ(result.tensors.size(), undisturbed.tensors.size());
  for (const auto& [name, tensor] : undisturbed.tensors) {
    EXPECT_EQ(result.tensors.at(name).values, tensor.values) << name;
  }
  ASSERT_EQ(result.evaluations.size(), undisturbed.evaluations.size());
  for (const auto& [clock, totals] : undisturbed.evaluations) {
    EXPECT_EQ(result.evaluations.at(clock).correct, totals.correct) << clock;
    EXPECT_EQ(result.evaluations.at(clock).loss_sum, totals.loss_sum) << clock;
  }
}

class EveryModeRecovers : public testing::TestWithParam<const char*> {};

TEST_P(EveryModeRecovers, FromWorkersThatEndInTheMiddleOfAStep) {
  const SyntheticJob job = MakeJob(GetParam());
  InProcessOptions options;
  options.servers = 2;
  options.workers = 2;
  options.shuffle_seed = 3;
  const absl::StatusOr<InProcessResult> undisturbed = RunInProcess(job.plan, job.data, options);
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();

  std::atomic<int> worker{0};
  options.begin_again = true;
  options.wrap_executor = [&](std::unique_ptr<nn::Executor> executor) {
    const std::vector<int> lives = worker++ == 0 ? std::vector<int>{3, 5, 12, 21} : std::vector<int>{9, 17};
    return std::make_unique<MortalExecutor>(std::move(executor), lives);
  };
  const absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
  ASSERT_TRUE(result.ok()) << result.status();
  const std::string mode = GetParam();
  if (mode == kDropping) return;  // whom rounds drop is a matter of time
  EXPECT_EQ(result->applied_min, kSteps);
  EXPECT_EQ(result->applied_max, kSteps);
  EXPECT_EQ(result->evaluations.size(), 2U);
  // At most the step that a group was at: six ends, of a worker with replicas of one group or of two.
  EXPECT_LE(result->recomputed_steps, mode == "sync" ? 6 : 12);
  if (mode == "sync") ExpectSame(*result, *undisturbed);
}

TEST_P(EveryModeRecovers, FromLostMessagesAndBrokenConnections) {
  const SyntheticJob job = MakeJob(GetParam());
  InProcessOptions options;
  options.servers = 2;
  options.workers = 2;
  const absl::StatusOr<InProcessResult> undisturbed = RunInProcess(job.plan, job.data, options);
  ASSERT_TRUE(undisturbed.ok()) << undisturbed.status();

  Chance lost_request(1, 10), lost_answer(2, 10), cut(3, 60);
  options.first_wait = absl::Milliseconds(10);
  options.wrap_sender = [&](std::shared_ptr<ExchangeSender> sender) {
    return std::make_shared<LossySender>(std::move(sender), &lost_request, &cut);
  };
  options.wrap_receiver = [&](std::shared_ptr<ExchangeReceiver> receiver) {
    return std::make_shared<LossyReceiver>(std::move(receiver), &lost_answer);
  };
  const absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_GT(result->retries, 0);
  EXPECT_EQ(result->recomputed_steps, 0);
  const std::string mode = GetParam();
  if (mode == kDropping) return;
  EXPECT_EQ(result->applied_min, kSteps);
  EXPECT_EQ(result->applied_max, kSteps);
  if (mode == "sync") ExpectSame(*result, *undisturbed);
}

INSTANTIATE_TEST_SUITE_P(Modes, EveryModeRecovers,
                         testing::Values("sync", kDropping, "grouped, group: 2", "ssp, staleness: 1",
                                         "async"));

}  // namespace
}  // namespace tessera
