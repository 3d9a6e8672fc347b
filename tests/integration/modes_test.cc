// What each mode of consistency promises (DESIGN.md section 4), over whole trainings in one process.
#include <gtest/gtest.h>

#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/mutex.h"
#include "tests/common/temporary_folder.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"

namespace tessera {
namespace {

constexpr int kReplicas = 4;
constexpr int kBatch = 4;
constexpr int kSteps = 10;

SyntheticJob Job(const std::string& consistency, int epochs = 1, int replicas = kReplicas) {
  const TemporaryFolder folder;
  EXPECT_TRUE(WriteSyntheticData(folder.path(), kSteps * replicas * kBatch, 30).ok());
  const std::string text = absl::StrReplaceAll(
      SyntheticJobText(folder.path(), "lenet5", replicas, kBatch, 1),
      {{"consistency: { mode: sync }", absl::StrCat("consistency: { ", consistency, " }")},
       {"epochs: 1", absl::StrCat("epochs: ", epochs)},
       {"workers: 1", absl::StrCat("workers: ", replicas)}});
  absl::StatusOr<SyntheticJob> job = MakeSyntheticJob(text);
  EXPECT_TRUE(job.ok()) << job.status();
  return *std::move(job);
}

InProcessResult RunJob(const SyntheticJob& job, InProcessOptions options) {
  absl::StatusOr<InProcessResult> result = RunInProcess(job.plan, job.data, options);
  EXPECT_TRUE(result.ok()) << result.status();
  return *std::move(result);
}

struct Mode {
  std::string name;
  std::string consistency;
  int64_t staleness_bound;  // versions; -1: none
  int64_t lead_bound;       // clocks; -1: none
};

void PrintTo(const Mode& mode, std::ostream* out) { *out << mode.consistency; }

class EveryMode : public ::testing::TestWithParam<Mode> {};

TEST_P(EveryMode, AppliesEachMinibatchOfEachReplicaExactlyOnceWithinItsBounds) {
  const Mode& mode = GetParam();
  const SyntheticJob job = Job(mode.consistency, /*epochs=*/2);
  for (const auto& [servers, workers, shuffle] :
       {std::tuple{1, 1, 0}, {2, 2, 21}, {1, 3, 22}, {3, 4, 23}, {2, 5, 24}}) {
    SCOPED_TRACE(testing::Message() << servers << " servers, " << workers << " workers, shuffle " << shuffle);
    const InProcessResult result =
        RunJob(job, {.servers = servers, .workers = workers, .shuffle_seed = static_cast<uint64_t>(shuffle)});
    EXPECT_EQ(result.applied_min, 2 * kSteps);
    EXPECT_EQ(result.applied_max, 2 * kSteps);
    EXPECT_EQ(result.dropped, 0);
    const auto shards = static_cast<int64_t>(job.plan.layout.shards().size());
    EXPECT_EQ(result.replica_pushes, kReplicas * 2 * kSteps * shards);
    if (mode.staleness_bound >= 0) {
      EXPECT_LE(result.staleness_max, mode.staleness_bound);
    }
    if (mode.lead_bound >= 0) {
      EXPECT_LE(result.clock_lead_max, mode.lead_bound);
    }
    ASSERT_EQ(result.evaluations.size(), 2U) << "one after each epoch";
    for (const auto& [clock, totals] : result.evaluations) EXPECT_EQ(totals.samples, 30) << clock;
  }
}

TEST_P(EveryMode, Learns) {
  const SyntheticJob job = Job(GetParam().consistency, /*epochs=*/6);
  const InProcessResult result = RunJob(job, {.servers = 2, .workers = 2, .shuffle_seed = 5});
  EXPECT_GT(result.evaluations.rbegin()->second.accuracy(), 0.5) << "of ten classes";
}

INSTANTIATE_TEST_SUITE_P(
    Modes, EveryMode,
    ::testing::Values(Mode{"sync", "mode: sync", 0, 0}, Mode{"async", "mode: async", -1, -1},
                      Mode{"ssp3", "mode: ssp, staleness: 3", 21, 3},
                      Mode{"ssp0", "mode: ssp, staleness: 0", 3, 0},
                      Mode{"grouped2", "mode: grouped, group: 2", -1, -1},
                      Mode{"grouped2ssp1", "mode: grouped, group: 2, staleness: 1", 3, 1},
                      Mode{"scaled", "mode: async, staleness_correction: scale", -1, -1},
                      Mode{"compensated", "mode: async, staleness_correction: delay_compensated", -1, -1}),
    [](const auto& info) { return info.param.name; });

// Lets the steps of some replicas wait until others are far ahead: what a slow worker is, without a clock.
class Gate {
 public:
  // Replicas that are not held call this after each step.
  void Passed(Clock clock) {
    MutexLock lock(&mutex_);
    furthest_ = std::max(furthest_, clock + 1);
    changed_.NotifyAll();
  }
  // Waits until somebody has run `clock`; false when nobody does for long.
  bool AwaitOthers(Clock clock) {
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    MutexLock lock(&mutex_);
    while (furthest_ <= clock && absl::Now() < deadline) changed_.WaitWithTimeout(&mutex_, absl::Seconds(1));
    return furthest_ > clock;
  }
  Clock furthest() const {
    MutexLock lock(&mutex_);
    return furthest_;
  }

 private:
  mutable Mutex mutex_;
  CondVar changed_;
  Clock furthest_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Holds every `every`th minibatch of replica 0 between its forward and its first push until the others are
// `behind` minibatches further.
class HeldExecutor : public nn::Executor {
 public:
  HeldExecutor(std::unique_ptr<nn::Executor> executor, Gate* gate, Clock behind, Clock last)
      : executor_(std::move(executor)), gate_(gate), behind_(behind), last_(last) {}

  absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                      nn::ParameterExchange* exchange) override {
    HeldExchange held(exchange, this, key);
    auto result = executor_->Step(batch, key, &held);
    if (key.replica != 0) gate_->Passed(key.clock);
    return result;
  }
  absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                nn::ParameterExchange* exchange) override {
    return executor_->Evaluate(batch, exchange);
  }
  std::string Fingerprint() const override { return executor_->Fingerprint(); }

 private:
  class HeldExchange : public nn::ParameterExchange {
   public:
    HeldExchange(nn::ParameterExchange* exchange, HeldExecutor* executor, const nn::StepKey& key)
        : exchange_(exchange), executor_(executor), key_(key) {}
    absl::StatusOr<absl::Span<const float>> Weights(int block) override { return exchange_->Weights(block); }
    absl::Span<float> Gradient(int block) override { return exchange_->Gradient(block); }
    absl::Status GradientReady(int block) override {
      if (key_.replica == 0 && !waited_) {
        waited_ = true;
        const Clock others = std::min(key_.clock + executor_->behind_, executor_->last_);
        if (others >= 0 && !executor_->gate_->AwaitOthers(others)) {
          return absl::DeadlineExceededError(absl::StrCat("the others never ran minibatch ", others));
        }
      }
      return exchange_->GradientReady(block);
    }

   private:
    nn::ParameterExchange* const exchange_;
    HeldExecutor* const executor_;
    const nn::StepKey key_;
    bool waited_ = false;
  };

  const std::unique_ptr<nn::Executor> executor_;
  Gate* const gate_;
  const Clock behind_;
  const Clock last_;
};

// Every replica with a worker of its own; each minibatch of replica 0 is held until another is `behind`
// further on.
InProcessOptions WithHeldReplica(Gate* gate, Clock behind) {
  InProcessOptions options{.servers = 2, .workers = kReplicas};
  options.wrap_executor = [gate, behind](std::unique_ptr<nn::Executor> executor) {
    return std::make_unique<HeldExecutor>(std::move(executor), gate, behind, kSteps - 1);
  };
  return options;
}

TEST(SlowReplica, LetsTheOthersRunToTheEndInAsync) {
  Gate gate;
  const InProcessResult result = RunJob(Job("mode: async"), WithHeldReplica(&gate, kSteps));
  EXPECT_EQ(result.applied_min, kSteps);
  EXPECT_EQ(result.applied_max, kSteps);
  EXPECT_GE(result.clock_lead_max, kSteps - 2)
      << "another had applied all but its last minibatch while replica 0 had none";
  EXPECT_GE(result.staleness_max, kSteps) << "its first gradient missed all of another's updates";
}

TEST(SlowReplica, LetsTheOthersRunExactlyTheBoundAheadInSsp) {
  Gate gate;
  const InProcessResult result = RunJob(Job("mode: ssp, staleness: 3"), WithHeldReplica(&gate, 3));
  EXPECT_EQ(result.clock_lead_max, 3);
  EXPECT_LE(result.staleness_max, 21);
  EXPECT_EQ(result.applied_min, kSteps);
}

TEST(SlowReplica, HoldsItsGroupButNotTheOtherInGrouped) {
  Gate gate;
  const InProcessResult result = RunJob(Job("mode: grouped, group: 2"), WithHeldReplica(&gate, kSteps));
  EXPECT_EQ(result.applied_min, kSteps);
  EXPECT_GE(result.clock_lead_max, kSteps - 2) << "the last minibatch may meet the held group's first";
}

// Replica 0 pushes each minibatch after the others have run two more: those rounds are closed without it.
TEST(SlowReplica, IsDroppedAndJumpsToTheRoundOfTheOthers) {
  Gate gate;
  const InProcessResult result = RunJob(Job("mode: sync, drop_stragglers: 1", 2), WithHeldReplica(&gate, 2));
  EXPECT_EQ(result.staleness_max, 0) << "what counts was computed on exactly the round's version";
  EXPECT_GT(result.dropped, 0);
  EXPECT_GT(result.dropped_by_replica.at(0), 0);
  EXPECT_LT(result.applied_min, 2 * kSteps);
  EXPECT_LE(result.applied_max, 2 * kSteps);
  ASSERT_EQ(result.evaluations.size(), 2U) << "jumped over or not, each epoch is evaluated";
  for (const auto& [clock, totals] : result.evaluations) EXPECT_EQ(totals.samples, 30) << clock;
}

TEST(DropStragglers, TrainsOnAnyClusterInAnyOrder) {
  for (const int replicas : {4, 6}) {
    const SyntheticJob job = Job("mode: sync, drop_stragglers: 3", 2, replicas);
    for (const auto& [servers, workers, shuffle] :
         {std::tuple{1, 2, 31}, {2, 3, 32}, {3, 4, 33}, {2, 2, 34}, {2, 6, 35}}) {
      SCOPED_TRACE(testing::Message()
                   << replicas << " replicas, " << servers << " servers, " << workers << " workers");
      const InProcessResult result = RunJob(
          job, {.servers = servers, .workers = workers, .shuffle_seed = static_cast<uint64_t>(shuffle)});
      EXPECT_LE(result.applied_max, 2 * kSteps);
      EXPECT_EQ(result.staleness_max, 0);
      const auto shards = static_cast<int64_t>(job.plan.layout.shards().size());
      EXPECT_EQ(result.replica_pushes + result.dropped, replicas * 2 * kSteps * shards)
          << "every minibatch counted or was dropped, on every shard";
    }
  }
}

TEST(ClippedGradients, GiveTheSameBitsOnAnyCluster) {
  const auto digest = [](double clip_norm, int servers, int workers) {
    SyntheticJob job = Job("mode: sync");
    job.plan.job.train.clip_norm = clip_norm;
    return WeightsDigest(RunJob(job, {.servers = servers, .workers = workers, .shuffle_seed = 7}).tensors);
  };
  const std::string clipped = digest(0.1, 1, 1);
  EXPECT_EQ(digest(0.1, 2, 3), clipped);
  EXPECT_EQ(digest(0.1, 3, 4), clipped);
  EXPECT_NE(digest(0, 1, 1), clipped);
  EXPECT_EQ(digest(1e6, 1, 2), digest(0, 1, 1)) << "a bound that is never reached changes nothing";
}

}  // namespace
}  // namespace tessera
