// Replicas that change workers while all of them live: nothing is computed twice, nothing is left out, and
// nobody can tell it from the result.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/mutex.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/lossy_exchange.h"
#include "tests/integration/synthetic_job.h"
#include "worker/evaluator.h"

namespace tessera {
namespace {

constexpr int kReplicas = 4;
constexpr Clock kStepsPerEpoch = 3;
constexpr int64_t kEpochs = 8;
constexpr Clock kSteps = kEpochs * kStepsPerEpoch;
constexpr int64_t kTestSamples = 2 * kEvaluationChunk + 10;
constexpr int64_t kChunks = 3;

SyntheticJob MakeJob() {
  const TemporaryFolder folder;
  EXPECT_TRUE(WriteSyntheticData(folder.path(), kStepsPerEpoch * kReplicas * 2, kTestSamples).ok());
  const std::string text =
      absl::StrReplaceAll(SyntheticJobText(folder.path(), "lenet5", kReplicas, 2, 1),
                          {{"epochs: 1", absl::StrCat("epochs: ", kEpochs)}, {"workers: 1", "workers: 2"}});
  absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(text);
  EXPECT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->plan.total_steps, kSteps);
  return *std::move(job);
}

// Counts what is computed, and changes the number of workers when the first minibatch of a clock begins.
class Foreman {
 public:
  // By clock, how many workers it then takes.
  explicit Foreman(std::vector<std::pair<Clock, int>> changes) : changes_(std::move(changes)) {}

  void Watch(InProcessOptions* options) {
    options->most_workers = kReplicas;
    options->give_hand_over = [this](std::function<bool(int)> hand_over) {
      hand_over_ = std::move(hand_over);
    };
    options->wrap_executor = [this](std::unique_ptr<nn::Executor> executor) {
      return std::make_unique<Executor>(this, std::move(executor));
    };
  }

  void ExpectAllOnce() {
    MutexLock lock(&mutex_);
    EXPECT_EQ(made_, changes_.size()) << "handovers";
    EXPECT_EQ(computed_.size(), static_cast<size_t>(kSteps * kReplicas));
    for (const auto& [minibatch, times] : computed_) {
      EXPECT_EQ(times, 1) << "replica " << minibatch.first << ", clock " << minibatch.second;
    }
    EXPECT_EQ(evaluated_, kEpochs * kChunks);
  }

 private:
  class Executor : public nn::Executor {
   public:
    Executor(Foreman* foreman, std::unique_ptr<nn::Executor> executor)
        : foreman_(foreman), executor_(std::move(executor)) {}
    absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                        nn::ParameterExchange* exchange) override {
      foreman_->OnStep(key);
      return executor_->Step(batch, key, exchange);
    }
    absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                  nn::ParameterExchange* exchange) override {
      foreman_->OnEvaluation();
      return executor_->Evaluate(batch, exchange);
    }
    std::string Fingerprint() const override { return executor_->Fingerprint(); }

   private:
    Foreman* const foreman_;
    const std::unique_ptr<nn::Executor> executor_;
  };

  void OnStep(const nn::StepKey& key) {
    int workers = 0;
    {
      MutexLock lock(&mutex_);
      ++computed_[{key.replica, key.clock}];
      if (busy_ || made_ == changes_.size() || key.clock < changes_[made_].first) return;
      busy_ = true;
      workers = changes_[made_].second;
    }
    const bool made = hand_over_(workers);
    MutexLock lock(&mutex_);
    busy_ = false;
    made_ += made ? 1 : 0;
  }
  void OnEvaluation() {
    MutexLock lock(&mutex_);
    ++evaluated_;
  }

  const std::vector<std::pair<Clock, int>> changes_;
  std::function<bool(int)> hand_over_;
  Mutex mutex_;
  bool busy_ ABSL_GUARDED_BY(mutex_) = false;
  size_t made_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<std::pair<ReplicaId, Clock>, int> computed_ ABSL_GUARDED_BY(mutex_);
  int64_t evaluated_ ABSL_GUARDED_BY(mutex_) = 0;
};

void ExpectSame(const InProcessResult& result, const InProcessResult& undisturbed) {
  EXPECT_EQ(result.applied_min, kSteps);
  EXPECT_EQ(result.applied_max, kSteps);
  EXPECT_EQ(result.recomputed_steps, 0);
  for (const auto& [name, tensor] : undisturbed.tensors) {
    EXPECT_EQ(result.tensors.at(name).values, tensor.values) << name;
  }
  ASSERT_EQ(result.evaluations.size(), undisturbed.evaluations.size());
  for (const auto& [clock, totals] : undisturbed.evaluations) {
    EXPECT_EQ(result.evaluations.at(clock).samples, kTestSamples) << clock;
    EXPECT_EQ(result.evaluations.at(clock).loss_sum, totals.loss_sum) << clock;
  }
}

class Handover : public testing::Test {
 protected:
  Handover() : job_(MakeJob()) {
    options_.servers = 2;
    options_.workers = 2;
    const absl::StatusOr<InProcessResult> undisturbed = RunInProcess(job_.plan, job_.data, options_);
    EXPECT_TRUE(undisturbed.ok()) << undisturbed.status();
    undisturbed_ = *undisturbed;
  }

  void Play(std::vector<std::pair<Clock, int>> changes) {
    Foreman foreman(std::move(changes));
    foreman.Watch(&options_);
    const absl::StatusOr<InProcessResult> result = RunInProcess(job_.plan, job_.data, options_);
    ASSERT_TRUE(result.ok()) << result.status();
    foreman.ExpectAllOnce();
    ExpectSame(*result, undisturbed_);
  }

  const SyntheticJob job_;
  InProcessOptions options_;
  InProcessResult undisturbed_;
};

TEST_F(Handover, WorkersThatJoinAndLeaveComputeNothingTwice) { Play({{1, 3}, {7, 1}, {13, 4}}); }

TEST_F(Handover, EachClockMayBeTheOne) {
  // The end of an epoch, the step after, the one before; and so late that nothing is left to hand over.
  for (const Clock clock : {2, 3, 4, 5, 20, 21, 22, 23}) {
    SCOPED_TRACE(clock);
    Play({{clock, clock % 2 == 0 ? 3 : 1}});
  }
}

TEST_F(Handover, LostMessagesChangeNothing) {
  Chance lost_request(1, 40), lost_answer(2, 40), cut(3, 200);
  options_.first_wait = absl::Milliseconds(10);
  options_.wrap_sender = [&](std::shared_ptr<ExchangeSender> sender) {
    return std::make_shared<LossySender>(std::move(sender), &lost_request, &cut);
  };
  options_.wrap_receiver = [&](std::shared_ptr<ExchangeReceiver> receiver) {
    return std::make_shared<LossyReceiver>(std::move(receiver), &lost_answer);
  };
  Play({{1, 4}, {7, 1}, {13, 3}});
}

}  // namespace
}  // namespace tessera
