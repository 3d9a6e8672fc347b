#include "server/shard_state.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/protocol.h"
#include "common/status.h"
#include "common/text.h"

namespace tessera {
namespace {

constexpr Version kNone = -1;

TraceArgs ArgsOf(const PushHeader& push, const TensorBytes& gradient) {
  return {.shard = push.shard,
          .replicas = push.replicas,
          .clock = push.clock,
          .bytes = static_cast<int64_t>(gradient.size_bytes())};
}

}  // namespace

ShardState::ShardState(ShardId id, std::string description, ShardStart start, ShardUpdater updater,
                       VersionBuffers versions, Shared shared)
    : id_(id),
      description_(std::move(description)),
      options_(start.policy.options()),
      length_(start.at.weights->size()),
      exact_versions_(start.policy.num_groups() == 1 && options_.drop_stragglers == 0),
      keeps_reads_(updater.rule().correction.compensates()),
      shared_(std::move(shared)),
      policy_(std::move(start.policy)),
      trees_(policy_.num_groups(), ReductionTree(options_.group, length_, shared_.pool)),
      versions_(std::move(versions)),
      current_(std::move(start.at)),
      updater_(std::move(updater)),
      applied_pushes_(start.applied_pushes),
      base_versions_(options_.replicas, kNone),
      reads_(keeps_reads_ ? options_.replicas : 0),
      update_term_(start.term),
      told_term_(start.told_term) {
  if (exact_versions_) previous_ = std::move(start.previous);
  TESSERA_CHECK(updater_.length() == length_);
}

absl::StatusOr<ConsistencyPolicy::Action> ShardState::Push(const PushHeader& header,
                                                           const TensorBytes& gradient, TraceTrack trace) {
  absl::StatusOr<ConsistencyPolicy::Action> action;
  Results results;
  {
    MutexLock lock(&mutex_);
    action = PushLocked(header, gradient, trace, &results);
  }
  Deliver(std::move(results));
  if (action.ok()) return action;
  return Annotate(action.status(), absl::StrCat(description_, ", push of clock ", header.clock));
}

void ShardState::Deliver(Results results) const {
  if (results.forwarded) shared_.forwards->Flush(id_);
  for (ShardSnapshot& snapshot : results.snapshots) shared_.on_snapshot(std::move(snapshot));
  for (auto& [done, answer] : results.answers) done(std::move(answer));
}

Clock ShardState::LastReadLocked(ReplicaId replica) const {
  const Clock next = policy_.GroupClock(policy_.GroupOf(replica)) + 1;
  // In exact versions a replica may be handed over to who waits for it here, that far beyond the newest
  // shard, which may be one ahead.
  return exact_versions_ ? next + kHandoverLead : next;
}

bool ShardState::Read(ReplicaId replica, Clock clock, ReadCallback done, ReadRule rule, ReaderId reader) {
  std::optional<Answer> answered;
  bool parked = false;
  {
    MutexLock lock(&mutex_);
    std::optional<absl::StatusOr<ShardVersion>> answer = AnswerLocked(replica, clock, rule);
    if (!answer.has_value() && clock > LastReadLocked(replica)) {
      // Its own push of clock - 1 can not have been made: such a read would wait, and hold its place, for
      // ever.
      answer = absl::FailedPreconditionError("it is further ahead than any replica can be");
    }
    if (answer.has_value()) {
      answered.emplace(std::move(done), *std::move(answer));
    } else {
      answered = ParkLocked({replica, clock, rule, reader, std::move(done)});
      parked = !answered.has_value() || absl::IsCancelled(answered->second.status());
    }
  }
  if (!answered.has_value()) return parked;
  auto& [call, answer] = *answered;
  if (!answer.ok()) {
    answer = Annotate(answer.status(),
                      absl::StrCat(description_, ", read of clock ", clock, " by replica ", replica));
  }
  call(std::move(answer));
  return parked;
}

std::optional<ShardState::Answer> ShardState::ParkLocked(ParkedRead read) {
  const auto same = [&read](const ParkedRead& other) {
    return read.reader != kNoReader && other.reader == read.reader && other.replica == read.replica;
  };
  const auto before = std::find_if(parked_.begin(), parked_.end(), same);
  if (before != parked_.end()) {
    std::swap(*before, read);
    return Answer(std::move(read.done), absl::CancelledError("the reader has asked again"));
  }
  if (parked_.size() >= kMaxParkedReads) {
    return Answer(std::move(read.done),
                  absl::ResourceExhaustedError(absl::StrCat(parked_.size(), " reads wait already")));
  }
  parked_.push_back(std::move(read));
  return std::nullopt;
}

void ShardState::CancelReads(ReaderId reader) {
  std::vector<Answer> answers;
  {
    MutexLock lock(&mutex_);
    std::erase_if(parked_, [&](ParkedRead& read) {
      if (read.reader != reader) return false;
      answers.emplace_back(std::move(read.done), absl::CancelledError("the reader has gone"));
      return true;
    });
  }
  for (auto& [done, answer] : answers) done(std::move(answer));
}

absl::StatusOr<PushState> ShardState::Probe(const PushHeader& header) const {
  absl::StatusOr<ConsistencyPolicy::Action> action;
  {
    MutexLock lock(&mutex_);
    const absl::Status primary = CheckPrimaryLocked();
    action = primary.ok() ? policy_.Peek(header.replicas, header.clock) : primary;
    if (action.ok() && *action != ConsistencyPolicy::Action::kHold && !IsReleasedLocked(header))
      return PushState::kHeld;
  }
  if (!action.ok())
    return Annotate(action.status(), absl::StrCat(description_, ", probe of clock ", header.clock));
  switch (*action) {
    case ConsistencyPolicy::Action::kAlreadyApplied:
      return PushState::kApplied;
    case ConsistencyPolicy::Action::kDuplicate:
      return PushState::kHeld;
    case ConsistencyPolicy::Action::kDropped:
      return PushState::kDropped;
    default:
      return PushState::kUnknown;
  }
}

absl::StatusOr<ShardVersion> ShardState::Latest() const {
  MutexLock lock(&mutex_);
  TESSERA_RETURN_IF_ERROR(Annotate(CheckPrimaryLocked(), description_));
  if (!OpenLocked()) {
    return absl::UnavailableError(
        absl::StrCat(description_, " waits for its backups at version ", current_.version));
  }
  return gate_ == nullptr ? current_ : gate_->newest();
}

void ShardState::Close() {
  std::vector<Answer> answers;
  {
    MutexLock lock(&mutex_);
    closed_ = true;
    answers = TakeAnsweredLocked();
  }
  for (auto& [done, answer] : answers) done(std::move(answer));
}

absl::Status ShardState::SnapshotAt(Version version) {
  MutexLock lock(&mutex_);
  if (version <= current_.version) {
    return absl::FailedPreconditionError(absl::StrCat(description_, " is to be saved at version ", version,
                                                      ", but it is at ", current_.version));
  }
  if (asked_snapshots_.size() == kMaxAskedSnapshots && asked_snapshots_.count(version) == 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat(description_, " is to be saved at ", kMaxAskedSnapshots, " versions already"));
  }
  asked_snapshots_.insert(version);
  return absl::OkStatus();
}

absl::Status ShardState::SetUnits(const std::vector<ReplicaRange>& units) {
  MutexLock lock(&mutex_);
  return policy_.SetUnits(units);
}

int64_t ShardState::copied_bytes() const {
  MutexLock lock(&mutex_);
  int64_t copied = 0;
  for (const ReductionTree& tree : trees_) copied += tree.copied_bytes();
  return copied;
}

std::vector<int64_t> ShardState::applied() const {
  MutexLock lock(&mutex_);
  return ReleasedLocked().applied();
}

std::vector<Clock> ShardState::next_clocks() const {
  MutexLock lock(&mutex_);
  std::vector<Clock> clocks;
  for (ReplicaId replica = 0; replica < options_.replicas; ++replica)
    clocks.push_back(ReleasedLocked().GroupClock(policy_.GroupOf(replica)));
  return clocks;
}

int64_t ShardState::dropped() const {
  MutexLock lock(&mutex_);
  return ReleasedLocked().dropped();
}

size_t ShardState::parked_reads() const {
  MutexLock lock(&mutex_);
  return parked_.size();
}

absl::Status ShardState::CheckPushLocked(const PushHeader& header, const TensorBytes& gradient) const {
  const size_t bytes = length_ * sizeof(float);
  if (gradient.size_bytes() != bytes) {
    return absl::InvalidArgumentError(absl::StrCat("replicas ", ToString(header.replicas), " sent ",
                                                   gradient.size_bytes(), " bytes, not ", bytes));
  }
  if (header.base_version < 0 || header.base_version > current_.version) {
    return absl::InvalidArgumentError(absl::StrCat("replicas ", ToString(header.replicas),
                                                   " name the weights of version ", header.base_version,
                                                   ", but the shard is at ", current_.version));
  }
  return absl::OkStatus();
}

absl::StatusOr<ConsistencyPolicy::Action> ShardState::PushLocked(const PushHeader& header,
                                                                 const TensorBytes& gradient,
                                                                 TraceTrack trace, Results* results) {
  TESSERA_RETURN_IF_ERROR(CheckPrimaryLocked());
  TESSERA_RETURN_IF_ERROR(CheckPushLocked(header, gradient));
  TESSERA_RETURN_IF_ERROR(CheckGateLocked(header));
  TESSERA_ASSIGN_OR_RETURN(const ConsistencyPolicy::Action action,
                           policy_.OnPush(header.replicas, header.clock));
  const bool completes = action == ConsistencyPolicy::Action::kApplyRound;
  if (!completes && action != ConsistencyPolicy::Action::kHold) return action;
  for (ReplicaId replica = header.replicas.first; replica <= header.replicas.last; ++replica) {
    base_versions_[replica] = header.base_version;
  }
  const TraceSpan span(trace, completes ? TraceKind::kApply : TraceKind::kReduce, ArgsOf(header, gradient));
  if (completes) {
    ApplyRoundLocked(header, gradient, results);
  } else {
    trees_[policy_.GroupOf(header.replicas.first)].Add(InGroupLocked(header), gradient);
  }
  return action;
}

// Of each group one round at most waits to be released, since its next push needs that round's weights. So
// this refuses none but who pushes what it cannot have computed.
absl::Status ShardState::CheckGateLocked(const PushHeader& header) const {
  if (gate_ == nullptr || gate_->waiting() < trees_.size()) return absl::OkStatus();
  TESSERA_ASSIGN_OR_RETURN(const ConsistencyPolicy::Action action,
                           policy_.Peek(header.replicas, header.clock));
  if (action != ConsistencyPolicy::Action::kHold) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(gate_->waiting(), " rounds wait for the shard's backups"));
}

ReplicaRange ShardState::InGroupLocked(const PushHeader& header) const {
  const ReplicaId first = policy_.GroupOf(header.replicas.first) * options_.group;
  return {header.replicas.first - first, header.replicas.last - first};
}

void ShardState::ApplyRoundLocked(const PushHeader& header, const TensorBytes& gradient, Results* results) {
  const int32_t group = policy_.GroupOf(header.replicas.first);
  const SharedTensor read = keeps_reads_ ? TakeReadLocked(group) : nullptr;  // groups are single replicas
  const std::vector<int64_t> staleness = TakeStalenessLocked(group);
  shared_.staleness->Record(staleness, policy_.LastRoundLead(group));
  const std::shared_ptr<TensorBuffer> next = NextVersionLocked();
  const std::shared_ptr<TensorBuffer> final = gate_ == nullptr ? nullptr : shared_.forwarded->Take(length_);
  const ShardUpdater::Round round{.update = current_.version + 1,
                                  .progress = static_cast<double>(applied_pushes_) / options_.replicas,
                                  .staleness = staleness,
                                  .read = read.get()};
  updater_.Apply(round, current_.weights->span(), trees_[group].Complete(InGroupLocked(header), gradient),
                 next->span(), final == nullptr ? absl::Span<float>() : final->span());
  AdvanceLocked(next, static_cast<int64_t>(staleness.size()), term_);
  TellLocked(group, updater_.LearningRate(round), final, results);
}

std::shared_ptr<TensorBuffer> ShardState::NextVersionLocked() {
  // Nobody can ask for the old spare any more (the lock is held): its place becomes the new version's.
  previous_.weights.reset();
  return versions_.Take(current_.version + 1);
}

void ShardState::AdvanceLocked(SharedTensor next, int64_t pushes, int64_t term) {
  applied_pushes_ += pushes;
  update_term_ = term;
  ShardVersion applied = std::exchange(current_, {current_.version + 1, std::move(next)});
  if (exact_versions_) previous_ = std::move(applied);
}

void ShardState::TellLocked(int32_t group, double learning_rate, SharedTensor final, Results* results) {
  std::optional<ShardSnapshot> snapshot = CutLocked();
  if (gate_ == nullptr) {
    if (snapshot.has_value()) results->snapshots.push_back(*std::move(snapshot));
    results->answers = TakeAnsweredLocked();
    return;
  }
  const Clock clock = policy_.GroupClock(group) - 1;
  const std::vector<ReplicaRange> covered = policy_.LastRound(group);
  gate_->Add({current_, group, clock, covered, std::move(snapshot)});
  shared_.forwards->Add({.shard = id_,
                         .made = {current_.version, update_term_},
                         .group = group,
                         .clock = clock,
                         .covered = covered,
                         .learning_rate = learning_rate,
                         .gradient = TensorBytes(std::move(final))});
  results->forwarded = true;
  ReleaseLocked(results);
}

void ShardState::ReleaseLocked(Results* results) {
  if (gate_ != nullptr && gate_->Release(&results->snapshots)) results->answers = TakeAnsweredLocked();
}

std::vector<int64_t> ShardState::TakeStalenessLocked(int32_t group) {
  std::vector<int64_t> staleness;
  const auto begin = base_versions_.begin() + static_cast<int64_t>(group) * options_.group;
  for (auto base = begin; base != begin + options_.group; ++base) {
    if (*base != kNone) staleness.push_back(current_.version - *base);
    *base = kNone;
  }
  return staleness;
}

SharedTensor ShardState::TakeReadLocked(ReplicaId replica) {
  ShardVersion read = std::exchange(reads_[replica], {});
  // Another worker may have read for this replica since: what the gradient was computed on is then not kept.
  return read.version == base_versions_[replica] ? std::move(read.weights) : nullptr;
}

std::optional<absl::StatusOr<ShardVersion>> ShardState::AnswerLocked(ReplicaId replica, Clock clock,
                                                                     ReadRule rule) {
  if (closed_) return absl::CancelledError("the store is closed");
  const absl::Status primary = CheckPrimaryLocked();
  if (!primary.ok()) return primary;
  const absl::StatusOr<bool> may_read = ReleasedLocked().MayRead(replica, clock);
  if (!may_read.ok()) return may_read.status();
  if (!*may_read || !OpenLocked()) return std::nullopt;
  if (rule == ReadRule::kSettled && !ReleasedLocked().Settled(clock)) return std::nullopt;
  absl::StatusOr<ShardVersion> version = VersionForLocked(clock);
  if (version.ok() && keeps_reads_) reads_[replica] = *version;
  return version;
}

absl::StatusOr<ShardVersion> ShardState::VersionForLocked(Clock clock) const {
  if (!exact_versions_) return gate_ == nullptr ? current_ : gate_->newest();
  if (clock == current_.version) return current_;
  if (previous_.weights != nullptr && clock == previous_.version) return previous_;
  return absl::FailedPreconditionError(
      absl::StrCat("version ", clock, " is gone, the shard is at ", current_.version));
}

std::optional<ShardSnapshot> ShardState::CutLocked() {
  const Version every = shared_.checkpoint_every;
  const bool asked = asked_snapshots_.erase(current_.version) > 0;
  if (!asked && (every == 0 || current_.version % every != 0)) return std::nullopt;
  ShardSnapshot snapshot = SnapshotLocked();
  snapshot.weights = CopyOf(current_.weights->span());
  return snapshot;
}

ShardSnapshot ShardState::SnapshotLocked() const {
  return ShardSnapshot{.shard = id_,
                       .version = current_.version,
                       .applied_pushes = applied_pushes_,
                       .policy = policy_.Snapshot(),
                       .weights = current_.weights,
                       .slots = updater_.Slots()};
}

std::vector<ShardState::Answer> ShardState::TakeAnsweredLocked() {
  std::vector<Answer> answers;
  std::vector<ParkedRead> waiting;
  for (ParkedRead& read : parked_) {
    std::optional<absl::StatusOr<ShardVersion>> answer = AnswerLocked(read.replica, read.clock, read.rule);
    if (answer.has_value()) {
      answers.emplace_back(std::move(read.done), *std::move(answer));
    } else {
      waiting.push_back(std::move(read));
    }
  }
  parked_ = std::move(waiting);
  return answers;
}

void ShardState::SetDuty(int64_t term, const ShardDuty& duty) {
  Results results;
  {
    MutexLock lock(&mutex_);
    // Who missed a map in between knows of nobody what he was told under it.
    if (term > term_ + 1 && gate_ != nullptr) gate_->ForgetBackups();
    term_ = term;
    const ShardRole before = std::exchange(role_, duty.role);
    if (duty.role == ShardRole::kPrimary) {
      LeadLocked(duty, &results);
    } else if (before == ShardRole::kPrimary) {
      FollowLocked(&results);
    }
  }
  Deliver(std::move(results));
}

void ShardState::LeadLocked(const ShardDuty& duty, Results* results) {
  const bool alone = duty.backups.empty() && duty.joining.empty();
  if (gate_ == nullptr && alone) return;
  if (gate_ == nullptr) gate_ = std::make_unique<ReleaseGate>(policy_, current_);
  gate_->SetBackups(duty.backups, duty.joining);
  ReleaseLocked(results);
  if (alone) gate_ = nullptr;  // which has let everything through
}

void ShardState::FollowLocked(Results* results) {
  gate_ = nullptr;
  policy_.ForgetOpenRounds();
  for (ReductionTree& tree : trees_) tree.Clear();
  std::fill(base_versions_.begin(), base_versions_.end(), kNone);
  std::fill(reads_.begin(), reads_.end(), ShardVersion());
  asked_snapshots_.clear();
  for (ParkedRead& read : parked_)
    results->answers.emplace_back(std::move(read.done),
                                  absl::CancelledError("the shard has another primary"));
  parked_.clear();
}

absl::Status ShardState::CheckPrimaryLocked() const {
  if (role_ == ShardRole::kPrimary) return absl::OkStatus();
  return absl::UnavailableError("it is a backup's here");
}

const ConsistencyPolicy& ShardState::ReleasedLocked() const {
  return gate_ == nullptr ? policy_ : gate_->policy();
}

bool ShardState::OpenLocked() const {
  return role_ == ShardRole::kPrimary && (gate_ == nullptr || gate_->open());
}

bool ShardState::IsReleasedLocked(const PushHeader& push) const {
  return OpenLocked() && push.clock < ReleasedLocked().GroupClock(policy_.GroupOf(push.replicas.first));
}

absl::Status ShardState::CheckForwardLocked(int64_t term, const ShardForward& forward) const {
  if (role_ != ShardRole::kBackup || term != term_) {
    return absl::AbortedError(absl::StrCat("a forward of term ", term, ", but it is ",
                                           role_ == ShardRole::kBackup ? "a backup" : "the primary",
                                           " of term ", term_));
  }
  if (forward.made.version > current_.version + 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("a forward of version ", forward.made.version, ", but it is at ", current_.version));
  }
  if (forward.gradient.size_bytes() != length_ * sizeof(float)) {
    return absl::InvalidArgumentError(absl::StrCat("a forward of ", forward.gradient.size_bytes(),
                                                   " bytes, not ", length_ * sizeof(float)));
  }
  if (std::isfinite(forward.learning_rate) && forward.made.term >= 0 && forward.made.term <= term)
    return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a forward of term ", term, " with an update of term ",
                                                 forward.made.term, " and learning rate ",
                                                 forward.learning_rate));
}

absl::Status ShardState::Forward(int64_t term, const ShardForward& forward) {
  MutexLock lock(&mutex_);
  TESSERA_RETURN_IF_ERROR(Annotate(CheckForwardLocked(term, forward), description_));
  if (forward.made.version <= current_.version) return absl::OkStatus();
  const absl::Status closed = policy_.OnRound(forward.group, forward.clock, forward.covered);
  if (!closed.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(description_, ", a forward that does not follow: ", PrintableLine(closed.message())));
  }
  const std::shared_ptr<TensorBuffer> next = NextVersionLocked();
  updater_.Repeat({forward.learning_rate, forward.made.version}, current_.weights->span(),
                  RoundSum(forward.gradient, {}), next->span());
  AdvanceLocked(next, policy_.LastRoundSize(forward.group), forward.made.term);
  told_term_ = term;
  return absl::OkStatus();
}

ShardMark ShardState::mark() const {
  MutexLock lock(&mutex_);
  return {current_.version, update_term_};
}

absl::Status ShardState::Copy(const std::function<void(ShardCopy)>& take) const {
  MutexLock lock(&mutex_);
  TESSERA_RETURN_IF_ERROR(Annotate(CheckPrimaryLocked(), description_));
  take({SnapshotLocked(), update_term_, previous_.weights});
  return absl::OkStatus();
}

absl::Status ShardState::OnHas(NodeId backup, Version version) {
  Results results;
  {
    MutexLock lock(&mutex_);
    if (version > current_.version) {
      return absl::InvalidArgumentError(absl::StrCat(description_, ": node ", backup, " has version ",
                                                     version, ", but it is at ", current_.version));
    }
    if (gate_ == nullptr) return absl::OkStatus();
    gate_->OnHas(backup, version);
    ReleaseLocked(&results);
  }
  Deliver(std::move(results));
  return absl::OkStatus();
}

absl::StatusOr<bool> ShardState::Join(NodeId node, Version version) {
  MutexLock lock(&mutex_);
  TESSERA_RETURN_IF_ERROR(Annotate(CheckPrimaryLocked(), description_));
  return version <= current_.version && gate_ != nullptr && gate_->Join(node, version);
}

bool ShardState::Follows(int64_t term, Version version) const {
  MutexLock lock(&mutex_);
  return role_ == ShardRole::kBackup && told_term_ == term && current_.version >= version;
}

ShardRole ShardState::role() const {
  MutexLock lock(&mutex_);
  return role_;
}

bool ShardState::open() const {
  MutexLock lock(&mutex_);
  return OpenLocked();
}

Version ShardState::released() const {
  MutexLock lock(&mutex_);
  if (!OpenLocked()) return 0;
  return gate_ == nullptr ? current_.version : gate_->newest().version;
}

}  // namespace tessera
