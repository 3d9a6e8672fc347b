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

wire::Phase ToWire(JobPhase phase) {
  switch (phase) {
    case JobPhase::kWaiting:
      return wire::WAITING;
    case JobPhase::kRunning:
      return wire::RUNNING;
    case JobPhase::kFinishing:
      return wire::FINISHING;
    case JobPhase::kDone:
      return wire::DONE;
    case JobPhase::kFailed:
      return wire::FAILED;
    case JobPhase::kStopped:
      return wire::STOPPED;
  }
  return wire::PHASE_UNSPECIFIED;
}

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

absl::Status JobProgress::CheckReplicas(absl::Span<const ReplicaReport> reports) const {
  if (phase_ == JobPhase::kWaiting && !reports.empty()) {
    return absl::FailedPreconditionError("progress of a replica, but the job has not started");
  }
  for (const ReplicaReport& report : reports) TESSERA_RETURN_IF_ERROR(Check(report));
  return absl::OkStatus();
}

absl::Status JobProgress::RecordReplicas(absl::Span<const ReplicaReport> reports) {
  TESSERA_RETURN_IF_ERROR(CheckReplicas(reports));
  for (const ReplicaReport& report : reports) {
    Replica& replica = replicas_[report.replica];
    replica.clock = std::max(replica.clock, report.clock);
    if (report.dropped > 0 &&
        (replica.dropped.size() < kMostTakeovers || replica.dropped.count(report.first_clock) > 0)) {
      Clock& dropped = replica.dropped[report.first_clock];
      dropped = std::max(dropped, report.dropped);
    }
    Merge(report.replica, report.first_clock, report.finished);
    Merge(report.replica, report.first_clock, report.current);
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
  if (report.first_clock < 0 || report.first_clock > report.clock) {
    return absl::InvalidArgumentError(absl::StrCat("replica ", report.replica, " reports clock ",
                                                   report.clock, " and that it began at ",
                                                   report.first_clock));
  }
  if (report.dropped < 0 || report.dropped > (options_.may_drop ? report.clock - report.first_clock : 0)) {
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

void JobProgress::Merge(ReplicaId replica, Clock first_clock, const ReportedEpoch& totals) {
  if (totals.minibatches == 0) return;
  auto& by_replica = totals_[totals.epoch];
  by_replica.resize(options_.replicas);
  std::map<Clock, ReportedEpoch>& takeovers = by_replica[replica];
  if (takeovers.size() >= kMostTakeovers && takeovers.count(first_clock) == 0) return;
  ReportedEpoch& kept = takeovers[first_clock];
  if (totals.minibatches > kept.minibatches) kept = totals;
  replicas_[replica].newest_epoch = std::max(replicas_[replica].newest_epoch, totals.epoch);
}

Clock JobProgress::Rewind(Clock clock) {
  const Clock lost = std::max<Clock>(0, MaxClock() - clock);
  totals_.erase(totals_.lower_bound(clock / options_.steps_per_epoch), totals_.end());
  for (ReplicaId id = 0; id < options_.replicas; ++id) {
    Replica& replica = replicas_[id];
    // Which of the drops were after `clock`, nobody knows: at most as many as there are minibatches remain.
    const Clock dropped = std::min(DroppedOf(id), clock);
    replica = {.clock = clock};
    if (dropped > 0) replica.dropped[-1] = dropped;
    for (const auto& [epoch, by_replica] : totals_) {
      if (!by_replica[id].empty()) replica.newest_epoch = epoch;
    }
  }
  if (!options_.repeatable) evaluations_.DropAfter(clock);
  if (phase_ == JobPhase::kFinishing) phase_ = JobPhase::kRunning;
  ended_ = absl::InfiniteFuture();
  return lost;
}

absl::StatusOr<bool> JobProgress::RecordEvaluation(Clock clock, absl::Span<const ChunkResult> chunks) {
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

Clock JobProgress::MaxClock() const {
  Clock fastest = 0;
  for (const Replica& replica : replicas_) fastest = std::max(fastest, replica.clock);
  return fastest;
}

Clock JobProgress::DroppedOf(ReplicaId replica) const {
  Clock dropped = 0;
  for (const auto& [first_clock, count] : replicas_[replica].dropped) dropped += count;
  return std::min(dropped, replicas_[replica].clock);
}

int64_t JobProgress::images() const {
  Clock counted = 0;
  for (ReplicaId replica = 0; replica < options_.replicas; ++replica) counted += CountedOf(replica);
  return counted * options_.batch_size;
}

int64_t JobProgress::dropped() const {
  int64_t dropped = 0;
  for (ReplicaId replica = 0; replica < options_.replicas; ++replica) dropped += DroppedOf(replica);
  return dropped;
}

double JobProgress::CurrentTrainLoss() const {
  double loss_sum = 0;
  int64_t minibatches = 0;
  for (ReplicaId replica = 0; replica < options_.replicas; ++replica) {
    const int64_t epoch = replicas_[replica].newest_epoch;
    if (epoch < 0) continue;
    const ReportedEpoch totals = Sum(epoch, replica);
    loss_sum += totals.loss_sum;
    minibatches += totals.minibatches;
  }
  return Ratio(loss_sum, minibatches);
}

ReportedEpoch JobProgress::Sum(int64_t epoch, ReplicaId replica) const {
  ReportedEpoch sum{.epoch = epoch};
  const auto found = totals_.find(epoch);
  if (found == totals_.end()) return sum;
  for (const auto& [first_clock, totals] : found->second[replica]) {
    sum.loss_sum += totals.loss_sum;
    sum.minibatches += totals.minibatches;
    sum.correct += totals.correct;
  }
  return sum;
}

ReportedEpoch JobProgress::Sum(int64_t epoch) const {
  ReportedEpoch sum{.epoch = epoch};
  for (ReplicaId replica = 0; replica < options_.replicas; ++replica) {
    const ReportedEpoch totals = Sum(epoch, replica);
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

void JobProgress::ToJournal(absl::Time now, wire::JournalProgress* journal) const {
  journal->set_phase(ToWire(phase_));
  journal->set_message(message_);
  journal->set_elapsed_seconds(absl::ToDoubleSeconds(Elapsed(now)));
  for (const Replica& replica : replicas_) {
    wire::JournalReplica* out = journal->add_replicas();
    out->set_clock(replica.clock);
    for (const auto& [first_clock, minibatches] : replica.dropped) {
      wire::JournalDropped* dropped = out->add_dropped();
      dropped->set_first_clock(first_clock);
      dropped->set_minibatches(minibatches);
    }
  }
  for (const auto& [epoch, by_replica] : totals_) {
    for (ReplicaId replica = 0; replica < options_.replicas; ++replica) {
      for (const auto& [first_clock, totals] : by_replica[replica]) {
        wire::JournalTotals* out = journal->add_totals();
        out->set_epoch(epoch);
        out->set_replica(replica);
        out->set_first_clock(first_clock);
        out->set_loss_sum(totals.loss_sum);
        out->set_minibatches(totals.minibatches);
        out->set_correct(totals.correct);
      }
    }
  }
  for (const auto& [clock, chunks] : evaluations_.Chunks()) {
    wire::JournalEvaluation* out = journal->add_evaluations();
    out->set_clock(clock);
    for (const ChunkResult& chunk : chunks) {
      wire::EvaluationChunk* result = out->add_chunks();
      result->set_chunk(chunk.chunk);
      result->set_samples(chunk.samples);
      result->set_correct(chunk.correct);
      result->set_loss_sum(chunk.loss_sum);
    }
  }
}

absl::Status JobProgress::FromJournal(const wire::JournalProgress& journal, absl::Time now) {
  const absl::Status status = LoadJournal(journal, now);
  return status.ok() ? status : absl::DataLossError(status.message());
}

absl::Status JobProgress::LoadJournal(const wire::JournalProgress& journal, absl::Time now) {
  if (journal.replicas_size() != options_.replicas) {
    return absl::DataLossError(
        absl::StrCat("progress of ", journal.replicas_size(), " replicas, the job has ", options_.replicas));
  }
  phase_ = JobPhase::kRunning;
  totals_.clear();
  evaluations_.DropAfter(0);
  for (ReplicaId id = 0; id < options_.replicas; ++id) {
    const wire::JournalReplica& in = journal.replicas(id);
    TESSERA_RETURN_IF_ERROR(Check({.replica = id, .clock = in.clock()}));
    replicas_[id] = {.clock = in.clock(), .dropped = {}};
    for (const wire::JournalDropped& dropped : in.dropped()) {
      replicas_[id].dropped[dropped.first_clock()] = dropped.minibatches();
    }
  }
  for (const wire::JournalTotals& in : journal.totals()) {
    if (in.replica() < 0 || in.replica() >= options_.replicas)
      return absl::DataLossError("an unknown replica");
    const ReportedEpoch totals{in.epoch(), in.loss_sum(), in.minibatches(), in.correct()};
    TESSERA_RETURN_IF_ERROR(CheckTotals(totals));
    Merge(in.replica(), in.first_clock(), totals);
  }
  for (const wire::JournalEvaluation& in : journal.evaluations()) {
    std::vector<ChunkResult> chunks;
    for (const wire::EvaluationChunk& chunk : in.chunks()) {
      chunks.push_back({chunk.chunk(), chunk.samples(), chunk.correct(), chunk.loss_sum()});
    }
    TESSERA_RETURN_IF_ERROR(RecordEvaluation(in.clock(), chunks).status());
  }
  const double elapsed_seconds = std::max(0.0, journal.elapsed_seconds());
  const bool was_running = journal.phase() == wire::RUNNING || journal.phase() == wire::FINISHING;
  const bool ran = was_running || elapsed_seconds > 0 || MaxClock() > 0;
  phase_ = ran ? JobPhase::kRunning : JobPhase::kWaiting;
  started_ = ran ? now - absl::Seconds(elapsed_seconds) : absl::InfinitePast();
  ended_ = absl::InfiniteFuture();
  FinishTraining(now);
  return absl::OkStatus();
}

}  // namespace tessera
