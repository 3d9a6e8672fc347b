#include "worker/trainer.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/protocol.h"
#include "common/status.h"

namespace tessera {

std::vector<ReplicaRange> LocalGroups(ReplicaRange local, int32_t group) {
  std::vector<ReplicaRange> groups;
  for (ReplicaId first = local.first; first <= local.last; first = groups.back().last + 1) {
    groups.push_back({first, std::min(local.last, first / group * group + group - 1)});
  }
  return groups;
}

std::vector<Clock> StartClocks(const TrainerOptions& options) {
  std::vector<Clock> clocks;
  for (const ReplicaRange& group : LocalGroups(options.local, options.group)) {
    Clock start = options.next_clocks.empty() ? 0 : std::numeric_limits<Clock>::max();
    for (ReplicaId replica = group.first; replica <= group.last && !options.next_clocks.empty(); ++replica) {
      start = std::min(start, options.next_clocks[static_cast<size_t>(replica - options.local.first)].first);
    }
    clocks.push_back(start);
  }
  return clocks;
}

PulledWeights::Keep KeepOf(const TrainerOptions& options) {
  const bool exact = options.group == options.replicas && !options.may_be_dropped;
  return exact ? PulledWeights::Keep::kInPlace : PulledWeights::Keep::kCopies;
}

Trainer::Trainer(TrainerOptions options, TrainerParts parts, EvaluationSink sink)
    : options_(std::move(options)),
      parts_(std::move(parts)),
      sink_(std::move(sink)),
      exchange_({options_.group, total_steps(), options_.clip_norm, options_.patience}, *parts_.graph,
                parts_.client, parts_.weights, parts_.gradient_memory, parts_.trace),
      clocks_(StartClocks(options_)),
      last_group_(static_cast<int>(std::min_element(clocks_.begin(), clocks_.end()) - clocks_.begin())),
      evaluated_epochs_(EvaluatedBefore()) {
  if (!options_.handed_over) ShowReplicas();
}

void Trainer::ShowReplicas() {
  MutexLock lock(&mutex_);
  const std::vector<ReplicaRange> groups = LocalGroups(options_.local, options_.group);
  for (size_t group = 0; group < groups.size(); ++group) {
    for (ReplicaId replica = groups[group].first; replica <= groups[group].last; ++replica) {
      ReplicaTotals& totals = progress_.replicas.emplace_back();
      totals.replica = replica;
      totals.clock = totals.first_clock = clocks_[group];
    }
  }
}

absl::Status Trainer::CheckStart() const {
  for (const ClockRange& next : options_.next_clocks) {
    if (0 <= next.first && next.first <= next.last && next.last <= total_steps()) continue;
    return absl::InternalError(absl::StrCat("servers are at clocks from ", next.first, " to ", next.last,
                                            ", but the job ends at ", total_steps()));
  }
  return absl::OkStatus();
}

int64_t Trainer::EvaluatedBefore() const {
  const int64_t finished = SlowestClock() / options_.steps_per_epoch;
  const bool again = !exact() || SlowestClock() % options_.steps_per_epoch == 0;
  return finished - (finished > 0 && again ? 1 : 0);
}

absl::Status Trainer::Run() {
  TESSERA_RETURN_IF_ERROR(CheckStart());
  for (size_t group = 0; group < clocks_.size(); ++group) {
    parts_.client->Request(static_cast<int>(group), clocks_[group],
                           /*settled=*/clocks_[group] == total_steps());
  }
  if (options_.handed_over) {
    TESSERA_RETURN_IF_ERROR(AwaitWeights(last_group_, clocks_.front(), absl::Now() + options_.patience));
    ShowReplicas();
  }
  // The end may move, either way, until somebody has looked at it once.
  do {
    TESSERA_RETURN_IF_ERROR(RunToTheEnd());
    hands_over_ = SlowestClock() >= end_.load();
  } while (!hands_over_ && SlowestClock() < total_steps());
  for (size_t group = 0; group < clocks_.size() && !hands_over_; ++group) {
    TESSERA_RETURN_IF_ERROR(AwaitAcknowledgement(static_cast<int>(group)));
  }
  hands_over_ = SlowestClock() >= end_.load();  // also where they only have the last evaluation to do
  return hands_over_ ? HandOver() : EvaluateFinishedEpochs();
}

absl::Status Trainer::HandOver() {
  const absl::Status acknowledged = AwaitAcknowledgement(last_group_);
  if (!absl::IsFailedPrecondition(acknowledged)) return acknowledged;
  // An answer was lost, and the others have gone on: a shard that has no such weights any more is past them,
  // as it can be only once every shard has applied what we pushed.
  RecordClock(last_group_, clocks_.front(), /*dropped=*/0);
  return absl::OkStatus();
}

absl::Status Trainer::RunToTheEnd() {
  if (SlowestClock() < end()) TESSERA_RETURN_IF_ERROR(EvaluateFinishedEpochs());
  while (SlowestClock() < end()) {
    const absl::Time start = absl::Now();
    TESSERA_ASSIGN_OR_RETURN(last_group_, NextGroup());
    TESSERA_RETURN_IF_ERROR(RunRound(last_group_));
    AddTrainingTime(start);
    // What follows the last minibatch waits for replicas elsewhere.
    if (SlowestClock() < end()) TESSERA_RETURN_IF_ERROR(EvaluateFinishedEpochs());
  }
  return absl::OkStatus();
}

Clock Trainer::SlowestClock() const { return *std::min_element(clocks_.begin(), clocks_.end()); }

absl::StatusOr<int> Trainer::NextGroup() {
  std::vector<Clock> running = clocks_;
  std::replace(running.begin(), running.end(), total_steps(), PulledWeights::kNoClock);
  // A single one need not wait for its weights: the layers do, each for its own.
  if (running.size() == 1) return 0;
  return parts_.weights->WaitForAny(running, absl::Now() + options_.patience);
}

absl::Status Trainer::RunRound(int group) {
  const Clock clock = clocks_[static_cast<size_t>(group)];
  const ReplicaRange replicas = parts_.weights->groups()[static_cast<size_t>(group)];
  for (ReplicaId replica = replicas.first; replica <= replicas.last; ++replica) {
    TESSERA_RETURN_IF_ERROR(
        Annotate(RunStep(group, replica, clock),
                 absl::StrCat("step ", clock + 1, " (epoch ", clock / options_.steps_per_epoch + 1,
                              ") of replica ", replica)));
  }
  parts_.weights->Release(group, clock);
  TESSERA_ASSIGN_OR_RETURN(clocks_[static_cast<size_t>(group)], ClockAfter(group, clock));
  return absl::OkStatus();
}

absl::Status Trainer::RunStep(int group, ReplicaId replica, Clock clock) {
  const TraceSpan span(parts_.trace, TraceKind::kStep, {.replicas = {replica, replica}, .clock = clock});
  CountBegun(replica, clock);
  exchange_.Begin(group, replica, clock);
  const nn::Batch batch = TakeBatch(group, {replica, clock});
  TESSERA_ASSIGN_OR_RETURN(const nn::StepResult result,
                           parts_.executor->Step(batch, {options_.seed, replica, clock}, &exchange_));
  exchange_.End();
  Record(replica, clock, result);
  return absl::OkStatus();
}

nn::Batch Trainer::TakeBatch(int group, BatchKey present) {
  const TraceSpan span(parts_.trace, TraceKind::kBatch);
  return parts_.train->Take(present, Upcoming(group, present));
}

std::vector<BatchKey> Trainer::Upcoming(int group, BatchKey present) const {
  const std::vector<ReplicaRange>& groups = parts_.weights->groups();
  std::vector<BatchKey> next;
  const auto add = [&next](ReplicaId first, ReplicaId last, Clock clock) {
    for (ReplicaId replica = first; replica <= last; ++replica) next.push_back({replica, clock});
  };
  add(present.replica + 1, groups[static_cast<size_t>(group)].last, present.clock);
  std::vector<Clock> clocks = clocks_;
  clocks[static_cast<size_t>(group)] = present.clock + 1;
  while (next.size() < BatchPrefetcher::kAhead) {
    const auto lowest = std::min_element(clocks.begin(), clocks.end());
    if (*lowest >= total_steps()) break;
    const ReplicaRange& replicas = groups[static_cast<size_t>(lowest - clocks.begin())];
    add(replicas.first, replicas.last, *lowest);
    ++*lowest;
  }
  return next;
}

absl::StatusOr<Clock> Trainer::ClockAfter(int group, Clock clock) {
  if (!options_.may_be_dropped) return clock + 1;
  TESSERA_ASSIGN_OR_RETURN(const Clock next,
                           parts_.weights->WaitForAnswers(group, clock + 1, absl::Now() + options_.patience));
  const int64_t own = parts_.weights->WasDropped(group, clock + 1) ? 1 : 0;
  if (next > total_steps()) {
    return absl::InternalError(
        absl::StrCat("a server's round is ", next, ", but the job ends at ", total_steps()));
  }
  if (own > 0) TESSERA_RETURN_IF_ERROR(Jump(group, next));
  RecordClock(group, next, /*dropped=*/own + (next - (clock + 1)));
  return next;
}

absl::Status Trainer::Jump(int group, Clock clock) {
  const bool at_end = clock == total_steps();
  parts_.client->Request(group, clock, /*settled=*/at_end);
  // All of it, statistics too, which a step does not read: so no shard is behind when the first gradient is
  // pushed, and shards differ by one round at most.
  return at_end ? absl::OkStatus() : AwaitWeights(group, clock, absl::Now() + options_.patience);
}

absl::Status Trainer::AwaitWeights(int group, Clock clock, absl::Time deadline) {
  for (size_t block = 0; block < parts_.graph->blocks().size(); ++block) {
    TESSERA_RETURN_IF_ERROR(parts_.weights->Wait(group, static_cast<int>(block), clock, deadline).status());
  }
  return absl::OkStatus();
}

absl::Status Trainer::AwaitAcknowledgement(int group) {
  const Clock clock = clocks_[static_cast<size_t>(group)];
  // The last weights wait for the slowest replica of the job, however long it takes: a death ends the wait.
  const absl::Time deadline =
      clock == total_steps() ? absl::InfiniteFuture() : absl::Now() + options_.patience;
  TESSERA_RETURN_IF_ERROR(Annotate(AwaitWeights(group, clock, deadline), "end of an epoch"));
  RecordClock(group, clock, /*dropped=*/0);
  return absl::OkStatus();
}

absl::Status Trainer::EvaluateFinishedEpochs() {
  const int64_t finished = SlowestClock() / options_.steps_per_epoch;
  if (evaluated_epochs_ == finished) return absl::OkStatus();
  TESSERA_RETURN_IF_ERROR(AwaitAcknowledgement(last_group_));
  for (; evaluated_epochs_ < finished; ++evaluated_epochs_) {
    const Clock end = (evaluated_epochs_ + 1) * options_.steps_per_epoch;
    TESSERA_RETURN_IF_ERROR(
        Annotate(Evaluate(last_group_, end), absl::StrCat("evaluation after epoch ", evaluated_epochs_ + 1)));
  }
  return absl::OkStatus();
}

absl::Status Trainer::Evaluate(int group, Clock clock) {
  const TraceSpan span(parts_.trace, TraceKind::kEvaluate, {.clock = clock});
  exchange_.Begin(group, parts_.weights->groups()[static_cast<size_t>(group)].first,
                  clocks_[static_cast<size_t>(group)]);
  std::vector<EvaluationChunk> chunks;
  for (int32_t chunk = 0; chunk < NumEvaluationChunks(options_.test_samples); ++chunk) {
    const ReplicaId replica = chunk % options_.replicas;
    if (!options_.local.Contains({replica, replica})) continue;
    TESSERA_ASSIGN_OR_RETURN(chunks.emplace_back(), EvaluateChunk(parts_.executor, &exchange_, parts_.test,
                                                                  options_.test_samples, chunk));
  }
  return sink_(clock, chunks);
}

void Trainer::CountBegun(ReplicaId replica, Clock clock) {
  if (options_.next_clocks.empty()) return;
  const Clock furthest = options_.next_clocks[static_cast<size_t>(replica - options_.local.first)].last;
  if (clock >= furthest) return;
  MutexLock lock(&mutex_);
  progress_.recomputed.insert(clock);
  if (progress_.recomputed.size() > kMostRecomputed) progress_.recomputed.erase(progress_.recomputed.begin());
}

void Trainer::Record(ReplicaId replica, Clock clock, const nn::StepResult& result) {
  const int64_t epoch = clock / options_.steps_per_epoch;
  MutexLock lock(&mutex_);
  ReplicaTotals& totals = progress_.replicas[static_cast<size_t>(replica - options_.local.first)];
  if (totals.current.epoch != epoch) {
    totals.last = totals.current;
    totals.current = {epoch, 0, 0, 0};
  }
  totals.clock = clock;  // it was computed on weights for `clock`, so that many pushes have been acknowledged
  totals.current.loss_sum += result.loss;
  totals.current.minibatches += 1;
  totals.current.correct += result.correct;
}

void Trainer::RecordClock(int group, Clock clock, int64_t dropped) {
  const ReplicaRange replicas = parts_.weights->groups()[static_cast<size_t>(group)];
  MutexLock lock(&mutex_);
  for (ReplicaId replica = replicas.first; replica <= replicas.last; ++replica) {
    ReplicaTotals& totals = progress_.replicas[static_cast<size_t>(replica - options_.local.first)];
    totals.clock = clock;
    totals.dropped += dropped;
  }
}

void Trainer::AddTrainingTime(absl::Time since) {
  const absl::Duration duration = absl::Now() - since;
  MutexLock lock(&mutex_);
  progress_.training_seconds += absl::ToDoubleSeconds(duration);
}

TrainerProgress Trainer::progress() const {
  MutexLock lock(&mutex_);
  return progress_;
}

}  // namespace tessera
