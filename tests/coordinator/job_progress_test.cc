#include "coordinator/job_progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace tessera {
namespace {

const absl::Time kStart = absl::UnixEpoch();

// Two replicas, two epochs of three minibatches of four images; ten test images.
JobProgress Started(int64_t test_samples = 10) {
  JobProgress progress(
      {.replicas = 2, .batch_size = 4, .epochs = 2, .steps_per_epoch = 3, .test_samples = test_samples});
  progress.Start(kStart);
  return progress;
}

ReplicaReport At(ReplicaId replica, Clock clock) { return {.replica = replica, .clock = clock}; }

TEST(JobProgress, IsCompleteWhenEveryReplicaAndTheLastEvaluationAre) {
  JobProgress progress = Started();
  ASSERT_TRUE(progress.RecordReplicas({At(0, 6), At(1, 5)}).ok());
  ASSERT_TRUE(progress.RecordEvaluation(6, {{0, 6, 3, 1.0}}).ok());
  EXPECT_FALSE(progress.training_complete());
  ASSERT_TRUE(progress.RecordReplicas({At(1, 6)}).ok());
  EXPECT_FALSE(progress.training_complete());
  EXPECT_FALSE(progress.FinishTraining(kStart));
  ASSERT_TRUE(progress.RecordEvaluation(6, {{1, 4, 3, 1.0}}).ok());
  EXPECT_TRUE(progress.training_complete());
  EXPECT_TRUE(progress.FinishTraining(kStart + absl::Seconds(9)));
  EXPECT_EQ(progress.phase(), JobPhase::kFinishing);
  EXPECT_EQ(progress.Elapsed(kStart + absl::Seconds(99)), absl::Seconds(9));
}

TEST(JobProgress, NeedsNoEvaluationWithoutATestSet) {
  JobProgress progress = Started(0);
  ASSERT_TRUE(progress.RecordReplicas({At(0, 6), At(1, 6)}).ok());
  EXPECT_TRUE(progress.FinishTraining(kStart));
}

TEST(JobProgress, LateReportsTurnNothingBack) {
  JobProgress progress = Started();
  ReplicaReport newer = At(0, 2);
  newer.current = {.epoch = 0, .loss_sum = 3.0, .minibatches = 2, .correct = 5};
  ReplicaReport older = At(0, 1);
  older.current = {.epoch = 0, .loss_sum = 2.0, .minibatches = 1, .correct = 1};
  ASSERT_TRUE(progress.RecordReplicas({newer}).ok());
  ASSERT_TRUE(progress.RecordReplicas({newer}).ok());
  ASSERT_TRUE(progress.RecordReplicas({older}).ok());
  EXPECT_EQ(progress.images(), 8);
  EXPECT_DOUBLE_EQ(progress.CurrentTrainLoss(), 1.5);
}

TEST(JobProgress, KeepsEpochsOfReplicasThatAreAtDifferentOnes) {
  JobProgress progress = Started(0);
  ReplicaReport ahead = At(0, 4);
  ahead.finished = {.epoch = 0, .loss_sum = 6.0, .minibatches = 3, .correct = 6};
  ahead.current = {.epoch = 1, .loss_sum = 1.0, .minibatches = 1, .correct = 4};
  ReplicaReport behind = At(1, 2);
  behind.current = {.epoch = 0, .loss_sum = 2.0, .minibatches = 2, .correct = 2};
  ASSERT_TRUE(progress.RecordReplicas({ahead, behind}).ok());
  EXPECT_TRUE(progress.FinishedEpochs().empty());
  behind.clock = 3;
  behind.current = {.epoch = 0, .loss_sum = 3.0, .minibatches = 3, .correct = 3};
  ASSERT_TRUE(progress.RecordReplicas({behind}).ok());
  const auto epochs = progress.FinishedEpochs();
  ASSERT_EQ(epochs.size(), 1u);
  EXPECT_EQ(epochs[0].epoch, 1);
  EXPECT_DOUBLE_EQ(epochs[0].train_loss, 9.0 / 6);
  EXPECT_DOUBLE_EQ(epochs[0].train_accuracy, 9.0 / 24);
  EXPECT_FALSE(epochs[0].test.has_value());
}

TEST(JobProgress, TrainLossIsOverTheEpochThatEachReplicaIsAt) {
  JobProgress progress = Started(0);
  ReplicaReport ahead = At(0, 4);
  ahead.finished = {.epoch = 0, .loss_sum = 30.0, .minibatches = 3};
  ahead.current = {.epoch = 1, .loss_sum = 1.0, .minibatches = 1};
  ReplicaReport behind = At(1, 2);
  behind.current = {.epoch = 0, .loss_sum = 8.0, .minibatches = 2};
  ASSERT_TRUE(progress.RecordReplicas({ahead, behind}).ok());
  EXPECT_DOUBLE_EQ(progress.CurrentTrainLoss(), 9.0 / 3);
}

TEST(JobProgress, TheSlowestReplicaEndsEpochsInOrder) {
  JobProgress progress = Started();
  ASSERT_TRUE(progress.RecordReplicas({At(0, 6), At(1, 2)}).ok());
  ASSERT_TRUE(progress.RecordEvaluation(3, {{0, 5, 3, 1.0}}).ok());  // by the fast one's worker
  ASSERT_TRUE(progress.RecordEvaluation(6, {{0, 5, 4, 1.0}}).ok());
  EXPECT_TRUE(progress.FinishedEpochs().empty());
  ASSERT_TRUE(progress.RecordReplicas({At(1, 3)}).ok());
  EXPECT_TRUE(progress.FinishedEpochs().empty());
  ASSERT_TRUE(progress.RecordEvaluation(3, {{1, 5, 5, 1.0}}).ok());
  ASSERT_EQ(progress.FinishedEpochs().size(), 1u);
  EXPECT_DOUBLE_EQ(progress.FinishedEpochs()[0].test->accuracy, 0.8);
  EXPECT_FALSE(progress.training_complete());
}

TEST(JobProgress, DroppedMinibatchesAreNoImagesTrainedOn) {
  JobProgress progress({.replicas = 2, .batch_size = 4, .epochs = 2, .steps_per_epoch = 3, .may_drop = true});
  progress.Start(kStart);
  ReplicaReport straggler = At(1, 5);
  straggler.dropped = 4;
  straggler.current = {.epoch = 1, .loss_sum = 2.0, .minibatches = 1, .correct = 2};
  ASSERT_TRUE(progress.RecordReplicas({At(0, 6), straggler}).ok());
  EXPECT_EQ(progress.images(), (6 + 1) * 4);
  EXPECT_EQ(progress.dropped(), 4);
  EXPECT_EQ(progress.CountedOf(1), 1);
  ASSERT_TRUE(progress.RecordReplicas({At(1, 2)}).ok());  // late
  EXPECT_EQ(progress.dropped(), 4);
  const auto epochs = progress.FinishedEpochs();
  ASSERT_EQ(epochs.size(), 1u);
  EXPECT_TRUE(std::isnan(epochs[0].train_loss)) << "the straggler jumped over it, and the other did not tell";
}

TEST(JobProgress, RefusesDropsThatCannotBe) {
  JobProgress dropping({.replicas = 1, .epochs = 1, .steps_per_epoch = 9, .may_drop = true});
  dropping.Start(kStart);
  JobProgress keeping({.replicas = 1, .epochs = 1, .steps_per_epoch = 9});
  keeping.Start(kStart);
  for (const Clock dropped : {Clock{-1}, Clock{4}, std::numeric_limits<Clock>::max()}) {
    const ReplicaReport report{.replica = 0, .clock = 3, .dropped = dropped};
    EXPECT_EQ(dropping.RecordReplicas({report}).code(), absl::StatusCode::kInvalidArgument) << dropped;
  }
  EXPECT_EQ(keeping.RecordReplicas({{.replica = 0, .clock = 3, .dropped = 1}}).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(dropping.RecordReplicas({{.replica = 0, .clock = 3, .dropped = 3}}).ok());
}

TEST(JobProgress, AnEpochIsFinishedOnceItIsEvaluated) {
  JobProgress progress = Started();
  ASSERT_TRUE(progress.RecordReplicas({At(0, 3), At(1, 3)}).ok());
  EXPECT_TRUE(progress.FinishedEpochs().empty());
  ASSERT_TRUE(progress.RecordEvaluation(3, {{0, 10, 9, 5.0}}).ok());
  const auto epochs = progress.FinishedEpochs();
  ASSERT_EQ(epochs.size(), 1u);
  EXPECT_DOUBLE_EQ(epochs[0].test->accuracy, 0.9);
  EXPECT_TRUE(std::isnan(epochs[0].train_loss));  // nobody told it
}

TEST(JobProgress, CarriesALossThatIsNotFinite) {
  JobProgress progress = Started();
  ReplicaReport report = At(0, 1);
  report.current = {.epoch = 0, .loss_sum = std::numeric_limits<double>::infinity(), .minibatches = 1};
  ASSERT_TRUE(progress.RecordReplicas({report}).ok());
  EXPECT_TRUE(std::isinf(progress.CurrentTrainLoss()));
}

TEST(JobProgress, RefusesReportsThatCannotBeAsAWhole) {
  JobProgress progress = Started();
  ReplicaReport too_many = At(0, 1);
  too_many.current = {.epoch = 0, .loss_sum = 1, .minibatches = 4};
  ReplicaReport foreign_epoch = At(0, 1);
  foreign_epoch.current = {.epoch = 2, .loss_sum = 1, .minibatches = 1};
  ReplicaReport too_good = At(0, 1);
  too_good.current = {.epoch = 0, .loss_sum = 1, .minibatches = 1, .correct = 5};
  ReplicaReport negative = At(0, 1);
  negative.finished = {.epoch = 0, .loss_sum = 1, .minibatches = -1};
  for (const ReplicaReport& bad :
       {At(2, 1), At(-1, 1), At(0, -1), At(0, 7), too_many, foreign_epoch, too_good, negative}) {
    EXPECT_EQ(progress.RecordReplicas({At(1, 3), bad}).code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(progress.images(), 0);
}

TEST(JobProgress, EvaluatesAtEpochsEndsOnly) {
  JobProgress progress = Started();
  for (const Clock clock : {-3, 0, 1, 4, 9}) {
    EXPECT_EQ(progress.RecordEvaluation(clock, {{0, 1, 1, 0}}).status().code(),
              absl::StatusCode::kInvalidArgument)
        << clock;
  }
}

TEST(JobProgress, RefusesProgressBeforeTheStart) {
  JobProgress progress({.replicas = 1});
  EXPECT_EQ(progress.RecordReplicas({At(0, 1)}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(progress.RecordReplicas({}).ok());
}

TEST(JobProgress, TheFirstEndCounts) {
  JobProgress progress = Started();
  EXPECT_TRUE(progress.Fail("server 1 died", kStart + absl::Seconds(2)));
  EXPECT_FALSE(progress.Fail("worker 0 died", kStart + absl::Seconds(3)));
  EXPECT_FALSE(progress.Stop("stopped", kStart + absl::Seconds(3)));
  EXPECT_FALSE(progress.Succeed(kStart));
  EXPECT_EQ(progress.phase(), JobPhase::kFailed);
  EXPECT_EQ(progress.message(), "server 1 died");
  EXPECT_EQ(progress.Elapsed(kStart + absl::Seconds(9)), absl::Seconds(2));
}

TEST(JobProgress, CannotBeStoppedOnceTrainingIsComplete) {
  JobProgress progress = Started(0);
  ASSERT_TRUE(progress.RecordReplicas({At(0, 6), At(1, 6)}).ok());
  ASSERT_TRUE(progress.FinishTraining(kStart));
  EXPECT_FALSE(progress.Stop("stopped", kStart));
  EXPECT_TRUE(progress.Succeed(kStart));
  EXPECT_TRUE(progress.over());
}

TEST(JobProgress, AddsUpWhatWorkersDidOneAfterTheOther) {
  JobProgress progress = Started(0);
  ReplicaReport first = At(0, 2);
  first.current = {.epoch = 0, .loss_sum = 2.0, .minibatches = 2, .correct = 3};
  ReplicaReport heir = At(0, 3);
  heir.first_clock = 2;
  heir.current = {.epoch = 0, .loss_sum = 4.0, .minibatches = 1, .correct = 1};
  ASSERT_TRUE(progress.RecordReplicas({first}).ok());
  ASSERT_TRUE(progress.RecordReplicas({heir}).ok());
  ASSERT_TRUE(progress.RecordReplicas({heir}).ok());
  EXPECT_DOUBLE_EQ(progress.CurrentTrainLoss(), 2.0);
  EXPECT_EQ(progress.images(), 3 * 4);
  ReplicaReport impossible = At(0, 3);
  impossible.first_clock = 4;
  EXPECT_EQ(progress.RecordReplicas({impossible}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(JobProgress, ARewindForgetsLaterClocksAndEpochs) {
  for (const bool repeatable : {true, false}) {
    JobProgress progress({.replicas = 1,
                          .batch_size = 4,
                          .epochs = 3,
                          .steps_per_epoch = 3,
                          .test_samples = 10,
                          .repeatable = repeatable});
    progress.Start(kStart);
    ReplicaReport report = At(0, 8);
    report.finished = {.epoch = 1, .loss_sum = 3.0, .minibatches = 3, .correct = 6};
    report.current = {.epoch = 2, .loss_sum = 1.0, .minibatches = 2, .correct = 6};
    ReplicaReport early = At(0, 3);
    early.current = {.epoch = 0, .loss_sum = 9.0, .minibatches = 3, .correct = 6};
    ASSERT_TRUE(progress.RecordReplicas({early, report}).ok());
    for (const Clock clock : {3, 6}) ASSERT_TRUE(progress.RecordEvaluation(clock, {{0, 10, 5, 1.0}}).ok());
    EXPECT_EQ(progress.Rewind(4), 4);
    EXPECT_EQ(progress.ClockOf(0), 4);
    EXPECT_EQ(progress.images(), 4 * 4);
    EXPECT_DOUBLE_EQ(progress.CurrentTrainLoss(), 3.0) << "of the first epoch";
    ASSERT_EQ(progress.FinishedEpochs().size(), 1u);
    ASSERT_TRUE(progress.RecordReplicas({At(0, 6)}).ok());
    EXPECT_EQ(progress.FinishedEpochs().size(), repeatable ? 2u : 1u) << "whether the evaluation stands";
  }
}

TEST(JobProgress, AJournalGivesItBack) {
  JobProgress progress = Started();
  ReplicaReport report = At(0, 4);
  report.finished = {.epoch = 0, .loss_sum = 6.0, .minibatches = 3, .correct = 6};
  ASSERT_TRUE(progress.RecordReplicas({report, At(1, 3)}).ok());
  ASSERT_TRUE(progress.RecordEvaluation(3, {{0, 6, 3, 1.0}, {1, 4, 3, 1.0}}).ok());
  wire::JournalProgress journal;
  progress.ToJournal(kStart + absl::Seconds(5), &journal);
  JobProgress next({.replicas = 2, .batch_size = 4, .epochs = 2, .steps_per_epoch = 3, .test_samples = 10});
  const absl::Time later = kStart + absl::Hours(1);
  ASSERT_TRUE(next.FromJournal(journal, later).ok());
  EXPECT_EQ(next.phase(), JobPhase::kRunning);
  EXPECT_EQ(next.Elapsed(later), absl::Seconds(5)) << "the time between does not count";
  EXPECT_EQ(next.ClockOf(0), 4);
  ASSERT_EQ(next.FinishedEpochs().size(), 1u);
  EXPECT_DOUBLE_EQ(next.FinishedEpochs()[0].train_loss, 2.0);
  EXPECT_DOUBLE_EQ(next.FinishedEpochs()[0].test->accuracy, 0.6);
  journal.mutable_replicas(0)->set_clock(1000);
  EXPECT_EQ(next.FromJournal(journal, later).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tessera
