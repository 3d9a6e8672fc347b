// How far a job is: its phase, the clocks of its replicas, losses and evaluations by epoch. A pure state
// machine: time is passed in. Not thread-safe; the coordinator calls it under its lock.
//
//   kWaiting --Start--> kRunning --FinishTraining--> kFinishing --Succeed--> kDone
//   any of the three --Fail--> kFailed, kWaiting or kRunning --Stop--> kStopped
// The first end counts; later ones change nothing.
//
// Reports are cumulative and may be repeated or come late: clocks and counts only grow.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/types.h"
#include "coordinator/evaluation_results.h"

namespace tessera {

enum class JobPhase { kWaiting, kRunning, kFinishing, kDone, kFailed, kStopped };

// What a replica has summed up over (part of) one epoch.
struct ReportedEpoch {
  int64_t epoch = 0;        // 0-based
  double loss_sum = 0;      // of minibatch means; may be NaN
  int64_t minibatches = 0;  // 0: nothing known
  int64_t correct = 0;
};

struct ReplicaReport {
  ReplicaId replica = 0;
  Clock clock = 0;
  Clock dropped = 0;  // of `clock`: minibatches that did not count
  ReportedEpoch current;
  ReportedEpoch finished;  // the epoch before
};

// One finished epoch, for people.
struct EpochHistory {
  int64_t epoch = 0;          // 1-based
  double train_loss = 0;      // mean over minibatches; NaN when no report came between two epochs' ends
  double train_accuracy = 0;  // 0..1, or NaN
  std::optional<EvaluationSummary> test;
};

struct JobProgressOptions {
  int32_t replicas = 1;
  int32_t batch_size = 1;
  int64_t epochs = 1;
  Clock steps_per_epoch = 1;
  int64_t test_samples = 0;  // 0: no evaluation
  bool may_drop = false;     // drop_stragglers
};

class JobProgress {
 public:
  explicit JobProgress(const JobProgressOptions& options);

  JobPhase phase() const { return phase_; }
  bool over() const { return phase_ >= JobPhase::kDone; }
  absl::Time over_since() const { return over_since_; }  // infinite future: it is not
  // Why it failed or stopped.
  const std::string& message() const { return message_; }

  // Each returns whether the phase changed.
  bool Start(absl::Time now);
  bool FinishTraining(absl::Time now);  // only when training_complete()
  bool Succeed(absl::Time now);
  bool Fail(std::string message, absl::Time now);
  bool Stop(std::string message, absl::Time now);

  // All or nothing. Errors: kInvalidArgument, an unknown replica, a clock or epoch outside the job, counts
  // that cannot be, drops in a job without; kFailedPrecondition, before Start.
  absl::Status RecordReplicas(absl::Span<const ReplicaReport> reports);
  // Errors: kInvalidArgument, `clock` is not the end of an epoch of this job; those of
  // EvaluationResults::Record.
  absl::Status RecordEvaluation(Clock clock, absl::Span<const ChunkResult> chunks);

  // Every replica has pushed its last minibatch, and the last evaluation (if there is a test set) is in.
  bool training_complete() const;

  Clock total_steps() const { return options_.steps_per_epoch * options_.epochs; }
  Clock MinClock() const;  // of the slowest replica
  Clock ClockOf(ReplicaId replica) const { return replicas_[replica].clock; }
  Clock DroppedOf(ReplicaId replica) const { return replicas_[replica].dropped; }
  // Minibatches of `replica` that counted so far.
  Clock CountedOf(ReplicaId replica) const { return replicas_[replica].clock - replicas_[replica].dropped; }
  int64_t images() const;   // trained on so far, by all replicas, those of dropped minibatches not counted
  int64_t dropped() const;  // minibatches, by all replicas
  // Mean loss over the newest epoch of each replica, which may be at different ones; NaN before.
  double CurrentTrainLoss() const;
  // The epochs that every replica has finished and, with a test set, evaluation has too; in order. Where
  // replicas are epochs apart, the slowest one ends them.
  std::vector<EpochHistory> FinishedEpochs() const;
  // From Start to the end of training (or `now`); zero before Start.
  absl::Duration Elapsed(absl::Time now) const;

 private:
  absl::Status Check(const ReplicaReport& report) const;
  absl::Status CheckTotals(const ReportedEpoch& totals) const;
  void Merge(ReplicaId replica, const ReportedEpoch& totals);
  ReportedEpoch Sum(int64_t epoch) const;  // over replicas, in order of index
  bool End(JobPhase phase, std::string message, absl::Time now);

  const JobProgressOptions options_;
  JobPhase phase_ = JobPhase::kWaiting;
  std::string message_;
  struct Replica {
    Clock clock = 0;
    Clock dropped = 0;
    int64_t newest_epoch = -1;  // that totals_ has of it
  };
  std::vector<Replica> replicas_;
  std::map<int64_t, std::vector<ReportedEpoch>> totals_;  // by epoch, then replica
  EvaluationResults evaluations_;
  absl::Time started_ = absl::InfinitePast();
  absl::Time ended_ = absl::InfiniteFuture();  // of training
  absl::Time over_since_ = absl::InfiniteFuture();
};

}  // namespace tessera
