#include "server/consistency_policy.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

absl::Status CheckUnits(const std::vector<ReplicaRange>& units, int32_t replicas) {
  for (size_t i = 0; i < units.size(); ++i) {
    const ReplicaRange unit = units[i];
    if (unit.first < 0 || unit.last < unit.first || unit.last >= replicas) {
      return absl::InvalidArgumentError(
          absl::StrCat("consistency: unit ", ToString(unit), " is no range of the ", replicas, " replicas"));
    }
    for (size_t other = 0; other < i; ++other) {
      if (!unit.Overlaps(units[other])) continue;
      return absl::InvalidArgumentError(absl::StrCat("consistency: units ", ToString(units[other]), " and ",
                                                     ToString(unit), " share a replica"));
    }
  }
  return absl::OkStatus();
}

// Replicas of the disjoint `ranges`.
int32_t SizeOf(absl::Span<const ReplicaRange> ranges) {
  int32_t size = 0;
  for (const ReplicaRange& range : ranges) size += range.size();
  return size;
}

// Replicas of `range` that the disjoint `held` cover.
int32_t CoveredOf(ReplicaRange range, const std::vector<ReplicaRange>& held) {
  int32_t covered = 0;
  for (const ReplicaRange& node : held) {
    const ReplicaRange common{std::max(node.first, range.first), std::min(node.last, range.last)};
    if (common.first <= common.last) covered += common.size();
  }
  return covered;
}

absl::Status CheckOptions(const ConsistencyOptions& options) {
  if (options.replicas < 1 || options.group < 1 || options.replicas % options.group != 0) {
    return absl::InvalidArgumentError(absl::StrCat("consistency: ", options.replicas,
                                                   " replicas cannot be cut into groups of ", options.group));
  }
  const bool bounded = options.staleness != ConsistencyOptions::kUnbounded;
  if (bounded && (options.staleness < 0 || options.staleness > ConsistencyOptions::kMaxStaleness)) {
    return absl::InvalidArgumentError(absl::StrCat("consistency: staleness is ", options.staleness,
                                                   ", not from 0 to ", ConsistencyOptions::kMaxStaleness));
  }
  if (options.drop_stragglers < 0 || options.drop_stragglers >= options.group) {
    return absl::InvalidArgumentError(absl::StrCat(
        "consistency: drop_stragglers is ", options.drop_stragglers, ", not from 0 to ", options.group - 1));
  }
  if (options.drop_stragglers > 0 && options.group != options.replicas) {
    return absl::InvalidArgumentError("consistency: drop_stragglers needs one group of all replicas");
  }
  return CheckUnits(options.units, options.replicas);
}

absl::Status CheckSize(absl::string_view what, size_t size, int32_t expected) {
  if (size == static_cast<size_t>(expected)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("it has ", size, " ", what, ", not ", expected));
}

absl::Status CheckNumber(absl::string_view what, size_t index, int64_t number) {
  if (number >= 0 && number <= ConsistencyPolicy::kMaxClock) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", index, " is ", number, ", not from 0 to ", ConsistencyPolicy::kMaxClock));
}

absl::Status CheckReplica(const ConsistencyOptions& options, const PolicySnapshot& snapshot, size_t replica) {
  const Clock clock = snapshot.replica_clocks[replica];
  const int64_t applied = snapshot.applied[replica];
  TESSERA_RETURN_IF_ERROR(CheckNumber("the clock of replica", replica, clock));
  TESSERA_RETURN_IF_ERROR(CheckNumber("the count of replica", replica, applied));
  const Clock group_clock = snapshot.group_clocks[replica / static_cast<size_t>(options.group)];
  if (clock > group_clock || (clock < group_clock && options.drop_stragglers == 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("replica ", replica, " is at clock ", clock, ", its group at ", group_clock));
  }
  if (applied > clock) {
    return absl::InvalidArgumentError(
        absl::StrCat("replica ", replica, " counted ", applied, " times in ", clock, " clocks"));
  }
  return absl::OkStatus();
}

absl::Status CheckSnapshot(const ConsistencyOptions& options, const PolicySnapshot& snapshot) {
  TESSERA_RETURN_IF_ERROR(
      CheckSize("groups", snapshot.group_clocks.size(), options.replicas / options.group));
  TESSERA_RETURN_IF_ERROR(CheckSize("replicas' clocks", snapshot.replica_clocks.size(), options.replicas));
  TESSERA_RETURN_IF_ERROR(CheckSize("replicas' counts", snapshot.applied.size(), options.replicas));
  for (size_t group = 0; group < snapshot.group_clocks.size(); ++group) {
    TESSERA_RETURN_IF_ERROR(CheckNumber("the clock of group", group, snapshot.group_clocks[group]));
  }
  for (size_t replica = 0; replica < snapshot.applied.size(); ++replica) {
    TESSERA_RETURN_IF_ERROR(CheckReplica(options, snapshot, replica));
  }
  if (snapshot.dropped < 0 || (snapshot.dropped > 0 && options.drop_stragglers == 0)) {
    return absl::InvalidArgumentError(absl::StrCat(snapshot.dropped, " minibatches were dropped"));
  }
  return absl::OkStatus();
}

}  // namespace

int64_t ConsistencyOptions::StalenessBoundVersions() const {
  const int64_t others = replicas / group - 1;
  if (others == 0) return 0;
  return staleness == kUnbounded ? kUnbounded : others * (2 * staleness + 1);
}

absl::StatusOr<ConsistencyPolicy> ConsistencyPolicy::Create(const ConsistencyOptions& options) {
  TESSERA_RETURN_IF_ERROR(CheckOptions(options));
  return ConsistencyPolicy(options);
}

ConsistencyPolicy::ConsistencyPolicy(const ConsistencyOptions& options)
    : options_(options),
      tree_(options.group),
      groups_(options.replicas / options.group),
      replica_clocks_(options.replicas, 0),
      applied_(options.replicas, 0) {}

PolicySnapshot ConsistencyPolicy::Snapshot() const {
  PolicySnapshot snapshot{.replica_clocks = replica_clocks_, .applied = applied_, .dropped = dropped_};
  for (const Group& group : groups_) snapshot.group_clocks.push_back(group.clock);
  return snapshot;
}

absl::StatusOr<ConsistencyPolicy> ConsistencyPolicy::Restore(const ConsistencyOptions& options,
                                                             const PolicySnapshot& snapshot) {
  TESSERA_ASSIGN_OR_RETURN(ConsistencyPolicy policy, Create(options));
  TESSERA_RETURN_IF_ERROR(Annotate(CheckSnapshot(options, snapshot), "consistency: a snapshot does not fit"));
  for (size_t group = 0; group < policy.groups_.size(); ++group) {
    policy.groups_[group].clock = snapshot.group_clocks[group];
  }
  policy.slowest_ = *std::min_element(snapshot.group_clocks.begin(), snapshot.group_clocks.end());
  policy.replica_clocks_ = snapshot.replica_clocks;
  policy.applied_ = snapshot.applied;
  policy.dropped_ = snapshot.dropped;
  return policy;
}

absl::Status ConsistencyPolicy::SetUnits(std::vector<ReplicaRange> units) {
  TESSERA_RETURN_IF_ERROR(CheckUnits(units, options_.replicas));
  options_.units = std::move(units);
  return absl::OkStatus();
}

absl::StatusOr<ConsistencyPolicy::Action> ConsistencyPolicy::OnPush(ReplicaRange range, Clock clock) {
  TESSERA_ASSIGN_OR_RETURN(const Action action, Peek(range, clock));
  if (action != Action::kHold) return action;
  const int32_t index = GroupOf(range.first);
  Hold(groups_[index], InGroup(range));
  if (!IsComplete(index)) return Action::kHold;
  CloseRound(index);
  return Action::kApplyRound;
}

absl::Status ConsistencyPolicy::OnRound(int32_t group, Clock clock, absl::Span<const ReplicaRange> covered) {
  TESSERA_RETURN_IF_ERROR(CheckRound(group, clock, covered));
  groups_[group].held.clear();
  for (const ReplicaRange& range : covered) groups_[group].held.push_back(InGroup(range));
  CloseRound(group);
  return absl::OkStatus();
}

absl::Status ConsistencyPolicy::CheckRound(int32_t group, Clock clock,
                                           absl::Span<const ReplicaRange> covered) const {
  if (group < 0 || group >= num_groups())
    return absl::InvalidArgumentError(absl::StrCat("there is no group ", group));
  const ReplicaRange all{group * options_.group, (group + 1) * options_.group - 1};
  for (size_t i = 0; i < covered.size(); ++i) {
    const bool valid = covered[i].first <= covered[i].last && all.Contains(covered[i]);
    const auto shares = [&](const ReplicaRange& other) { return other.Overlaps(covered[i]); };
    if (valid && std::none_of(covered.begin(), covered.begin() + i, shares)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("replicas ", ToString(covered[i]), " are no part of a round of group ", group));
  }
  if (SizeOf(covered) < options_.group - options_.drop_stragglers) {
    return absl::InvalidArgumentError(
        absl::StrCat("a round of ", SizeOf(covered), " replicas in a group of ", options_.group));
  }
  if (clock == groups_[group].clock && ReadableAt(group, clock)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("group ", group, " has closed round ", clock,
                                                    " elsewhere, here its open one is ",
                                                    groups_[group].clock));
}

void ConsistencyPolicy::ForgetOpenRounds() {
  for (Group& group : groups_) group.held.clear();
}

absl::StatusOr<ConsistencyPolicy::Action> ConsistencyPolicy::Peek(ReplicaRange range, Clock clock) const {
  TESSERA_RETURN_IF_ERROR(CheckRange(range));
  TESSERA_RETURN_IF_ERROR(CheckClock(range, clock));
  const Group& group = groups_[GroupOf(range.first)];
  if (clock < group.clock) return OnClosedRound(range, clock);
  const auto contains = [node = InGroup(range)](const ReplicaRange& held) { return held.Contains(node); };
  return std::any_of(group.held.begin(), group.held.end(), contains) ? Action::kDuplicate : Action::kHold;
}

ReplicaRange ConsistencyPolicy::InGroup(ReplicaRange range) const {
  const ReplicaId base = GroupOf(range.first) * options_.group;
  return {range.first - base, range.last - base};
}

absl::StatusOr<bool> ConsistencyPolicy::MayRead(ReplicaId replica, Clock clock) const {
  TESSERA_RETURN_IF_ERROR(CheckReplica(replica));
  if (clock < 0) return absl::InvalidArgumentError(absl::StrCat("clock ", clock, " is negative"));
  return ReadableAt(GroupOf(replica), clock);
}

int32_t ConsistencyPolicy::num_groups() const { return static_cast<int32_t>(groups_.size()); }

int32_t ConsistencyPolicy::GroupOf(ReplicaId replica) const { return replica / options_.group; }

Clock ConsistencyPolicy::GroupClock(int32_t group) const { return groups_[group].clock; }

Clock ConsistencyPolicy::ReplicaClock(ReplicaId replica) const { return replica_clocks_[replica]; }

int32_t ConsistencyPolicy::Covered(int32_t group) const { return SizeOf(groups_[group].held); }

int32_t ConsistencyPolicy::LastRoundSize(int32_t group) const { return SizeOf(groups_[group].last_round); }

std::vector<ReplicaRange> ConsistencyPolicy::LastRound(int32_t group) const {
  std::vector<ReplicaRange> ranges = groups_[group].last_round;
  for (ReplicaRange& range : ranges) {
    range.first += group * options_.group;
    range.last += group * options_.group;
  }
  return ranges;
}

Clock ConsistencyPolicy::LastRoundLead(int32_t group) const { return groups_[group].last_round_lead; }

absl::Status ConsistencyPolicy::CheckReplica(ReplicaId replica) const {
  if (replica >= 0 && replica < options_.replicas) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("unknown replica ", replica, ": the job has ", options_.replicas));
}

absl::Status ConsistencyPolicy::CheckRange(ReplicaRange range) const {
  TESSERA_RETURN_IF_ERROR(CheckReplica(range.first));
  TESSERA_RETURN_IF_ERROR(CheckReplica(range.last));
  const ReplicaId base = GroupOf(range.first) * options_.group;
  if (tree_.IsNode({range.first - base, range.last - base})) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "replicas ", ToString(range), " are no node of the reduction tree of a group of ", options_.group));
}

absl::Status ConsistencyPolicy::CheckClock(ReplicaRange range, Clock clock) const {
  const int32_t group = GroupOf(range.first);
  if (clock < 0) return absl::InvalidArgumentError(absl::StrCat("clock ", clock, " is negative"));
  if (clock > groups_[group].clock) {
    return absl::FailedPreconditionError(absl::StrCat("replicas ", ToString(range), " push clock ", clock,
                                                      ", but their group's round is ", groups_[group].clock));
  }
  if (!ReadableAt(group, clock)) {
    return absl::FailedPreconditionError(absl::StrCat("replicas ", ToString(range), " push clock ", clock,
                                                      ", more than ", options_.staleness,
                                                      " ahead of the slowest group, at ", slowest_));
  }
  return absl::OkStatus();
}

bool ConsistencyPolicy::ReadableAt(int32_t group, Clock clock) const {
  if (clock > groups_[group].clock) return false;
  // A single group's own clock is the slowest, so that its staleness never matters.
  return options_.staleness == ConsistencyOptions::kUnbounded || clock - options_.staleness <= slowest_;
}

ConsistencyPolicy::Action ConsistencyPolicy::OnClosedRound(ReplicaRange range, Clock clock) const {
  for (ReplicaId replica = range.first; replica <= range.last; ++replica) {
    if (replica_clocks_[replica] <= clock) return Action::kDropped;
  }
  return Action::kAlreadyApplied;
}

// Replaces what `node` contains, then grows it to the largest node that is now covered.
void ConsistencyPolicy::Hold(Group& group, ReplicaRange node) const {
  std::vector<ReplicaRange>& held = group.held;
  const auto inside = [&node](const ReplicaRange& other) { return node.Contains(other); };
  held.erase(std::remove_if(held.begin(), held.end(), inside), held.end());
  for (auto sibling = tree_.Sibling(node); sibling.has_value(); sibling = tree_.Sibling(node)) {
    const auto found = std::find(held.begin(), held.end(), *sibling);
    if (found == held.end()) break;
    held.erase(found);
    node = {std::min(node.first, sibling->first), std::max(node.last, sibling->last)};
  }
  held.push_back(node);
}

// Enough replicas, and of no unit only a part.
bool ConsistencyPolicy::IsComplete(int32_t group) const {
  if (Covered(group) < options_.group - options_.drop_stragglers) return false;
  if (options_.drop_stragglers == 0) return true;
  // One group of all: nodes are counted from replica 0, as units are.
  const auto whole_or_absent = [&held = groups_[group].held](ReplicaRange unit) {
    const int32_t covered = CoveredOf(unit, held);
    return covered == 0 || covered == unit.size();
  };
  return std::all_of(options_.units.begin(), options_.units.end(), whole_or_absent);
}

void ConsistencyPolicy::CloseRound(int32_t index) {
  Group& group = groups_[index];
  group.last_round_lead = group.clock - slowest_;
  dropped_ += options_.group - Covered(index);
  ++group.clock;
  for (const ReplicaRange& held : group.held) {
    for (ReplicaId member = held.first; member <= held.last; ++member) {
      replica_clocks_[index * options_.group + member] = group.clock;
      ++applied_[index * options_.group + member];
    }
  }
  group.last_round.swap(group.held);
  group.held.clear();
  const auto slower = [](const Group& a, const Group& b) { return a.clock < b.clock; };
  if (group.clock == slowest_ + 1) {
    slowest_ = std::min_element(groups_.begin(), groups_.end(), slower)->clock;
  }
}

absl::string_view ToString(ConsistencyPolicy::Action action) {
  switch (action) {
    case ConsistencyPolicy::Action::kAlreadyApplied:
      return "already applied";
    case ConsistencyPolicy::Action::kDuplicate:
      return "duplicate";
    case ConsistencyPolicy::Action::kDropped:
      return "dropped";
    case ConsistencyPolicy::Action::kHold:
      return "hold";
    case ConsistencyPolicy::Action::kApplyRound:
      return "apply";
  }
  return "";
}

}  // namespace tessera
