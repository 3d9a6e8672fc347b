// The life of a step (DESIGN.md section 3), watched from outside: what is sent when, and what is copied.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"

namespace tessera {
namespace {

// What happened, in order, over all threads of the run.
class EventLog {
 public:
  void Add(std::string event) {
    MutexLock lock(&mutex_);
    events_.push_back(std::move(event));
  }
  std::vector<std::string> events() const {
    MutexLock lock(&mutex_);
    return events_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mutex_);
};

class WatchedExchange : public nn::ParameterExchange {
 public:
  WatchedExchange(nn::ParameterExchange* exchange, EventLog* log) : exchange_(exchange), log_(log) {}
  absl::StatusOr<absl::Span<const float>> Weights(int block) override {
    log_->Add(absl::StrCat("forward ", block));
    return exchange_->Weights(block);
  }
  absl::Span<float> Gradient(int block) override {
    log_->Add(absl::StrCat("backward ", block));
    return exchange_->Gradient(block);
  }
  absl::Status GradientReady(int block) override { return exchange_->GradientReady(block); }

 private:
  nn::ParameterExchange* const exchange_;
  EventLog* const log_;
};

class WatchedExecutor : public nn::Executor {
 public:
  WatchedExecutor(std::unique_ptr<nn::Executor> executor, EventLog* log)
      : executor_(std::move(executor)), log_(log) {}
  absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                      nn::ParameterExchange* exchange) override {
    WatchedExchange watched(exchange, log_);
    log_->Add("step");
    return executor_->Step(batch, key, &watched);
  }
  absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                nn::ParameterExchange* exchange) override {
    return executor_->Evaluate(batch, exchange);
  }
  std::string Fingerprint() const override { return executor_->Fingerprint(); }

 private:
  const std::unique_ptr<nn::Executor> executor_;
  EventLog* const log_;
};

class WatchedSender : public ExchangeSender {
 public:
  WatchedSender(std::shared_ptr<ExchangeSender> sender, EventLog* log)
      : sender_(std::move(sender)), log_(log) {}
  void Send(ExchangeMessage message, int priority) override {
    if (message.kind == MessageKind::kPush) waiting_.push_back(absl::StrCat("push ", message.shard));
    const bool may_wait = message.may_wait;
    sender_->Send(std::move(message), priority);
    if (!may_wait) Leave();
  }
  void Flush() override {
    sender_->Flush();
    Leave();
  }
  void Grant(int64_t bytes) override { sender_->Grant(bytes); }
  void Close(absl::Status reason) override { sender_->Close(std::move(reason)); }

 private:
  void Leave() {
    for (std::string& push : waiting_) log_->Add(std::move(push));
    waiting_.clear();
  }

  const std::shared_ptr<ExchangeSender> sender_;
  EventLog* const log_;
  std::vector<std::string> waiting_;  // the trainer's thread alone pushes
};

SyntheticJob MakeJob(int replicas) {
  const TemporaryFolder folder;
  EXPECT_TRUE(WriteSyntheticData(folder.path(), 3 * replicas * 4, 10).ok());
  absl::StatusOr<SyntheticJob> job =
      MakeSyntheticJob(SyntheticJobText(folder.path(), "lenet5", replicas, 4, 1));
  EXPECT_TRUE(job.ok()) << job.status();
  return *std::move(job);
}

TEST(Step, TheLastLayersShardIsQueuedBeforeTheFirstLayersBackwardStarts) {
  const SyntheticJob job = MakeJob(1);
  EventLog log;
  InProcessOptions options;
  options.wrap_executor = [&](auto executor) {
    return std::make_unique<WatchedExecutor>(std::move(executor), &log);
  };
  options.wrap_sender = [&](auto sender) { return std::make_shared<WatchedSender>(std::move(sender), &log); };
  const absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
  ASSERT_TRUE(result.ok()) << result.status();

  const int last_block = static_cast<int>(job.plan.layout.blocks().size()) - 1;
  const std::string last_push = absl::StrCat("push ", job.plan.layout.ShardsOfBlock(last_block).front());
  const std::vector<std::string> events = log.events();
  int steps = 0;
  for (auto step = std::find(events.begin(), events.end(), "step"); step != events.end();) {
    const auto next = std::find(step + 1, events.end(), "step");
    const auto pushed = std::find(step, next, last_push);
    const auto first_backward = std::find(step, next, "backward 0");
    ASSERT_NE(pushed, next);
    ASSERT_NE(first_backward, next);
    EXPECT_LT(pushed - step, first_backward - step) << "in step " << steps;
    ++steps;
    step = next;
  }
  EXPECT_EQ(steps, 3);
}

TEST(Step, PullsEachVersionOncePushesOneSumAndCopiesNoMoreThanTheDesignAllows) {
  const SyntheticJob job = MakeJob(4);
  InProcessOptions options;
  options.workers = 2;
  options.servers = 2;
  const absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
  ASSERT_TRUE(result.ok()) << result.status();
  // Three steps, two workers: each worker pulls versions 0..3 once, and pushes one sum for its two replicas.
  const int64_t model = job.plan.layout.total_bytes();
  EXPECT_EQ(result->pulled_bytes, 2 * 4 * model);
  EXPECT_EQ(result->pushed_bytes, 2 * 3 * model);
  // The copies that the design allows: a pulled byte into place, and of two siblings the first into the
  // accumulator.
  EXPECT_EQ(result->installed_bytes, result->pulled_bytes);
  EXPECT_EQ(result->accumulated_bytes, result->pushed_bytes / 2);
}

TEST(Step, AGradientThatIsNotFiniteEndsTheRunWithLayerAndStep) {
  class Poisoned : public WatchedExecutor {
   public:
    using WatchedExecutor::WatchedExecutor;
    absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                        nn::ParameterExchange* exchange) override {
      std::vector<float> images(batch.inputs[0].begin(), batch.inputs[0].end());
      if (key.clock == 1) images[5] = std::numeric_limits<float>::quiet_NaN();
      return WatchedExecutor::Step({images, batch.labels}, key, exchange);
    }
  };
  const SyntheticJob job = MakeJob(1);
  EventLog log;
  InProcessOptions options;
  options.wrap_executor = [&](auto executor) {
    return std::make_unique<Poisoned>(std::move(executor), &log);
  };
  const absl::Status status = RunInProcess(job.plan, job.data, options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << status;
  EXPECT_NE(std::string(status.message()).find("step 2 (epoch 1) of replica 0: layer `conv1`"),
            std::string::npos)
      << status;
}

}  // namespace
}  // namespace tessera
