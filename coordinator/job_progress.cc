#include "coordinator/job_progress.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

double Ratio(double sum, int64_t count) {
  return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
}

}  // namespace

JobProgress::JobProgress(const JobProgressOptions& options)
    : options_(options), replicas_(options.replicas), evaluations_(options.test_samples) {}

bool JobProgress::Start(absl::Time now) {
  if (phase_ != JobPhase::kWaiting) return false;
  phase_ = JobPhase::kRunning;
  started_ = now;
  return true;
}

bool JobProgress::FinishTraining(absl::Time now) {
  if (phase_ != JobPhase::kRunning || !training_complete()) return false;
  phase_ = JobPhase::kFinishing;
  ended_ = now;
  return true;
}

bool JobProgress::Succeed(absl::Time now) {
  if (phase_ != JobPhase::kFinishing) return false;
  phase_ = JobPhase::kDone;
  over_since_ = now;
  return true;
}

bool JobProgress::Fail(std::string message, absl::Time now) {
  return !over() && End(JobPhase::kFailed, std::move(message), now);
}

bool JobProgress::Stop(std::string message, absl::Time now) {
  const bool can_stop = phase_ == JobPhase::kWaiting || phase_ == JobPhase::kRunning;
  return can_stop && End(JobPhase::kStopped, std::move(message), now);
}

bool JobProgress::End(JobPhase phase, std::string message, absl::Time now) {
  phase_ = phase;
  message_ = std::move(message);
  ended_ = std::min(ended_, now);
  over_since_ = now;
  return true;
}

absl::Status JobProgress::RecordReplicas(absl::Span<const ReplicaReport> reports) {
  if (phase_ == JobPhase::kWaiting && !reports.empty()) {
    return absl::FailedPreconditionError("progress of a replica, but the job has not started");
  }
  for (const ReplicaReport& report : reports) TESSERA_RETURN_IF_ERROR(Check(report));
  for (const ReplicaReport& report : reports) {
    Replica& replica = replicas_[report.replica];
    replica.clock = std::max(replica.clock, report.clock);
    replica.dropped = std::max(replica.dropped, report.dropped);
    Merge(report.replica, report.finished);
    Merge(report.replica, report.current);
  }
  return absl::OkStatus();
}

absl::Status JobProgress::Check(const ReplicaReport& report) const {
  if (report.replica < 0 || report.replica >= options_.replicas) {
    return absl::InvalidArgumentError(
        absl::StrCat("progress of replica ", report.replica, ", the job has ", options_.replicas));
  }
  if (report.clock < 0 || report.clock > total_steps()) {
    return absl::InvalidArgumentError(absl::StrCat("replica ", report.replica, " reports clock ",
                                                   report.clock, ", the job ends at ", total_steps()));
  }
  if (report.dropped < 0 || report.dropped > (options_.may_drop ? report.clock : 0)) {
    return absl::InvalidArgumentError(absl::StrCat("replica ", report.replica, " reports ", report.dropped,
                                                   " dropped minibatches of ", report.clock,
                                                   options_.may_drop ? "" : ", and the job drops none"));
  }
  for (const ReportedEpoch* totals : {&report.current, &report.finished}) {
    TESSERA_RETURN_IF_ERROR(Annotate(CheckTotals(*totals), absl::StrCat("replica ", report.replica)));
  }
  return absl::OkStatus();
}

absl::Status JobProgress::CheckTotals(const ReportedEpoch& totals) const {
  if (totals.minibatches == 0) return absl::OkStatus();
  const bool counts_fit = totals.minibatches > 0 && totals.minibatches <= options_.steps_per_epoch &&
                          totals.correct >= 0 && totals.correct <= totals.minibatches * options_.batch_size;
  if (!counts_fit || totals.epoch < 0 || totals.epoch >= options_.epochs) {
    return absl::InvalidArgumentError(absl::StrCat("reports ", totals.minibatches, " minibatches, ",
                                                   totals.correct, " right predictions, of epoch ",
                                                   totals.epoch, "; an epoch has ", options_.steps_per_epoch,
                                                   " minibatches, the job ", options_.epochs, " epochs"));
  }
  return absl::OkStatus();
}

void JobProgress::Merge(ReplicaId replica, const ReportedEpoch& totals) {
  if (totals.minibatches == 0) return;
  std::vector<ReportedEpoch>& by_replica = totals_[totals.epoch];
  by_replica.resize(options_.replicas);
  if (totals.minibatches > by_replica[replica].minibatches) by_replica[replica] = totals;
  replicas_[replica].newest_epoch = std::max(replicas_[replica].newest_epoch, totals.epoch);
}

absl::Status JobProgress::RecordEvaluation(Clock clock, absl::Span<const ChunkResult> chunks) {
  if (clock < 1 || clock > total_steps() || clock % options_.steps_per_epoch != 0) {
    return absl::InvalidArgumentError(absl::StrCat("an evaluation at clock ", clock,
                                                   ", but epochs end at multiples of ",
                                                   options_.steps_per_epoch, " up to ", total_steps()));
  }
  return evaluations_.Record(clock, chunks);
}

bool JobProgress::training_complete() const {
  if (MinClock() < total_steps()) return false;
  return options_.test_samples == 0 || evaluations_.At(total_steps()).has_value();
}

Clock JobProgress::MinClock() const {
  Clock slowest = total_steps();
  for (const Replica& replica : replicas_) slowest = std::min(slowest, replica.clock);
  return slowest;
}

int64_t JobProgress::images() const {
  Clock counted = 0;
  for (ReplicaId replica = 0; replica < options_.replicas; ++replica) counted += CountedOf(replica);
  return counted * options_.batch_size;
}

int64_t JobProgress::dropped() const {
  int64_t dropped = 0;
  for (const Replica& replica : replicas_) dropped += replica.dropped;
  return dropped;
}

double JobProgress::CurrentTrainLoss() const {
  double loss_sum = 0;
  int64_t minibatches = 0;
  for (ReplicaId replica = 0; replica < options_.replicas; ++replica) {
    const int64_t epoch = replicas_[replica].newest_epoch;
    if (epoch < 0) continue;
    const ReportedEpoch& totals = totals_.at(epoch)[replica];
    loss_sum += totals.loss_sum;
    minibatches += totals.minibatches;
  }
  return Ratio(loss_sum, minibatches);
}

ReportedEpoch JobProgress::Sum(int64_t epoch) const {
  ReportedEpoch sum{.epoch = epoch};
  const auto found = totals_.find(epoch);
  if (found == totals_.end()) return sum;
  for (const ReportedEpoch& totals : found->second) {
    sum.loss_sum += totals.loss_sum;
    sum.minibatches += totals.minibatches;
    sum.correct += totals.correct;
  }
  return sum;
}

std::vector<EpochHistory> JobProgress::FinishedEpochs() const {
  std::vector<EpochHistory> history;
  const int64_t trained = MinClock() / options_.steps_per_epoch;
  for (int64_t epoch = 0; epoch < trained; ++epoch) {
    const std::optional<EvaluationSummary> test = evaluations_.At((epoch + 1) * options_.steps_per_epoch);
    if (options_.test_samples > 0 && !test.has_value()) break;
    const ReportedEpoch sum = Sum(epoch);
    history.push_back(
        {.epoch = epoch + 1,
         .train_loss = Ratio(sum.loss_sum, sum.minibatches),
         .train_accuracy = Ratio(static_cast<double>(sum.correct), sum.minibatches * options_.batch_size),
         .test = test});
  }
  return history;
}

absl::Duration JobProgress::Elapsed(absl::Time now) const {
  if (started_ == absl::InfinitePast()) return absl::ZeroDuration();
  return std::min(now, ended_) - started_;
}

}  // namespace tessera
