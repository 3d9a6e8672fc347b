// How far a job is: its phase, the clocks of its replicas, losses and evaluations by epoch. A pure state
// machine: time is passed in. Not thread-safe; the coordinator calls it under its lock.
//
//   kWaiting --Start--> kRunning --FinishTraining--> kFinishing --Succeed--> kDone
//   any of the three --Fail--> kFailed, kWaiting or kRunning --Stop--> kStopped
//   kFinishing --Rewind--> kRunning
// The first end counts; later ones change nothing.
//
// Reports are cumulative and may be repeated or come late: between two rewinds clocks and counts only grow. A
// replica may be taken over by another worker, whose report begins anew at the clock that it went on from:
// what each takeover has summed up is kept apart and added.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/types.h"
#include "coordinator/evaluation_results.h"
#include "proto/journal.pb.h"

namespace tessera {

enum class JobPhase { kWaiting, kRunning, kFinishing, kDone, kFailed, kStopped };
wire::Phase ToWire(JobPhase phase);

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
  Clock first_clock = 0;  // that its worker went on from; what follows counts from there
  Clock dropped = 0;      // minibatches that did not count
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
  bool repeatable =
      true;  // what is computed again comes out the same: a rewind leaves evaluations as they are
};

class JobProgress {
 public:
  // Of an epoch and of a replica so many takeovers are kept apart; what others report of losses is let go.
  static constexpr size_t kMostTakeovers = 64;

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

  // Back to `clock`: later clocks and the totals of epochs that end later are forgotten, kFinishing becomes
  // kRunning. Returns how many minibatches the fastest replica loses. Not once the job is over.
  Clock Rewind(Clock clock);

  // For the journal. FromJournal replaces everything; a job that has ended before it was done is running
  // again. Errors: kDataLoss, numbers that are not of this job.
  void ToJournal(absl::Time now, wire::JournalProgress* journal) const;
  absl::Status FromJournal(const wire::JournalProgress& journal, absl::Time now);

  // All or nothing. Errors: kInvalidArgument, an unknown replica, a clock or epoch outside the job, counts
  // that cannot be, drops in a job without; kFailedPrecondition, before Start.
  absl::Status RecordReplicas(absl::Span<const ReplicaReport> reports);
  // What RecordReplicas would answer.
  absl::Status CheckReplicas(absl::Span<const ReplicaReport> reports) const;
  // Returns whether there is a chunk that was not known. Errors: kInvalidArgument, `clock` is not the end of
  // an epoch of this job; those of EvaluationResults::Record.
  absl::StatusOr<bool> RecordEvaluation(Clock clock, absl::Span<const ChunkResult> chunks);

  // Every replica has pushed its last minibatch, and the last evaluation (if there is a test set) is in.
  bool training_complete() const;

  Clock total_steps() const { return options_.steps_per_epoch * options_.epochs; }
  Clock MinClock() const;  // of the slowest replica
  Clock MaxClock() const;  // of the fastest one
  Clock ClockOf(ReplicaId replica) const { return replicas_[replica].clock; }
  Clock DroppedOf(ReplicaId replica) const;
  // Minibatches of `replica` that counted so far.
  Clock CountedOf(ReplicaId replica) const { return ClockOf(replica) - DroppedOf(replica); }
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
  absl::Status LoadJournal(const wire::JournalProgress& journal, absl::Time now);
  absl::Status CheckTotals(const ReportedEpoch& totals) const;
  void Merge(ReplicaId replica, Clock first_clock, const ReportedEpoch& totals);
  // Over takeovers.
  ReportedEpoch Sum(int64_t epoch, ReplicaId replica) const;
  ReportedEpoch Sum(int64_t epoch) const;  // over replicas, in order of index
  bool End(JobPhase phase, std::string message, absl::Time now);

  const JobProgressOptions options_;
  JobPhase phase_ = JobPhase::kWaiting;
  std::string message_;
  struct Replica {
    Clock clock = 0;
    std::map<Clock, Clock> dropped;  // by first_clock
    int64_t newest_epoch = -1;       // that totals_ has of it
  };
  std::vector<Replica> replicas_;
  // By epoch, then replica, then first_clock.
  std::map<int64_t, std::vector<std::map<Clock, ReportedEpoch>>> totals_;
  EvaluationResults evaluations_;
  absl::Time started_ = absl::InfinitePast();
  absl::Time ended_ = absl::InfiniteFuture();  // of training
  absl::Time over_since_ = absl::InfiniteFuture();
};

}  // namespace tessera
