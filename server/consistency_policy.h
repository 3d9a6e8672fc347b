// Decides, from replica clocks alone, what a push does to one shard and when its weights may be read.
// Groups of `group` replicas reduce to one update; none may run more than `staleness` minibatches ahead of
// the slowest group. A pure state machine (no threads, time or I/O): any run replays from its event list. Not
// thread-safe; the parameter store calls it under the shard's lock. Source: Ho et al. 2013 (SSP); BSP is one
// group of all, ASP is staleness without bound; Chen et al. 2016 for backup workers (`drop_stragglers`).
// DESIGN.md sections 4 and 14 (rounds and ranges).
//
// A group's round closes when at least group - drop_stragglers of its replicas are covered and every unit is
// either whole or absent. So every round closes, if a worker that has begun a clock on any shard ends it, for
// all its replicas, on every shard, even when another shard has told it `dropped` meanwhile. A unit larger
// than drop_stragglers is never dropped: no round closes without it.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/replica_tree.h"
#include "common/types.h"

namespace tessera {

struct ConsistencyOptions {
  static constexpr Clock kUnbounded = -1;
  static constexpr Clock kMaxStaleness = 1 << 30;

  int32_t replicas = 1;
  int32_t group = 1;            // divides replicas
  Clock staleness = 0;          // or kUnbounded; without meaning in a single group, which waits for itself
  int32_t drop_stragglers = 0;  // a round closes this many replicas short; only with one group; < group
  // With drop_stragglers: the replicas that one worker runs. They are dropped all or none: a round waits for
  // the rest of a unit that has begun. Disjoint; a replica in none is a unit by itself.
  std::vector<ReplicaRange> units;

  // The bound on the staleness of an applied push in versions, (n-1)(2s+1) with n groups; kUnbounded without
  // one.
  int64_t StalenessBoundVersions() const;
};

class ConsistencyPolicy {
 public:
  enum class Action {
    kAlreadyApplied,  // a retry of an applied round: answer it, add nothing
    kDuplicate,       // inside a range already held for this round: add nothing
    kDropped,     // the round closed without this range: add nothing, the replica jumps to the current round
    kHold,        // add it, replacing held ranges inside it; the round is not complete yet
    kApplyRound,  // add it; the round is complete: reduce and apply, then the group's next round is open
  };

  // Errors: kInvalidArgument, replicas not a multiple of group, a number out of range, a unit of unknown
  // replicas or two that share one.
  static absl::StatusOr<ConsistencyPolicy> Create(const ConsistencyOptions& options);

  // Between two rounds: what it remembers of those that were applied. Nothing of open ones.
  PolicySnapshot Snapshot() const;
  // A policy that goes on where `snapshot` was taken; what open rounds held is pushed again. Of the last
  // rounds (LastRoundSize, LastRoundLead) it knows nothing until the next is applied.
  // Errors: kInvalidArgument, those of Create; a snapshot of other numbers of groups or replicas, with a
  // number that is negative or beyond kMaxClock, a replica ahead of its group, more minibatches of it than
  // clocks, or, where nobody is dropped, a drop or a replica behind its group.
  static absl::StatusOr<ConsistencyPolicy> Restore(const ConsistencyOptions& options,
                                                   const PolicySnapshot& snapshot);
  static constexpr Clock kMaxClock = Clock{1} << 32;  // of a snapshot: no run gets there

  // Replaces the units, when replicas move between workers. An open round stays open for now, even if it is
  // complete under the new units: it closes with the next push that leaves no unit begun, at the latest when
  // all replicas are covered. One is not yet (else the round had closed before), and whoever runs it pushes:
  // it waits for nobody's answer. So a round is at most as late as if its stragglers were not dropped, once.
  // Errors (units stay as they are): kInvalidArgument, as of Create.
  absl::Status SetUnits(std::vector<ReplicaRange> units);

  // Records the gradients of `range` (a node of its group's reduction tree) for minibatch `clock`. What
  // counts is which replicas are covered, however they were put together: a range is dropped if one of its
  // replicas was, and already applied if all of them counted. (Of each replica only the last clock that
  // counted is known: what was dropped before that is already applied too.) Errors (nothing recorded):
  // kInvalidArgument, an unknown replica, a range that is no tree node or leaves its group, a negative clock;
  // kFailedPrecondition, `clock` skips ahead of the group's round, or its weights could not be read yet
  // (MayRead).
  absl::StatusOr<Action> OnPush(ReplicaRange range, Clock clock);
  // What OnPush would do, without doing it; kHold stands for both that add. Errors: the same.
  absl::StatusOr<Action> Peek(ReplicaRange range, Clock clock) const;

  // Closes the open round of `group`, which is of `clock`, as another policy of the same options closed it:
  // with the replicas of `covered`, in any order. What is held of it here is forgotten.
  // Errors (nothing recorded): kInvalidArgument, an unknown group, ranges that are none of its group, share a
  // replica or are too few; kFailedPrecondition, its open round is of another clock, or ahead of the bound.
  absl::Status OnRound(int32_t group, Clock clock, absl::Span<const ReplicaRange> covered);
  // What is held of open rounds has never been.
  void ForgetOpenRounds();

  // May `replica` read weights for minibatch `clock`? Once true, stays true.
  // Errors: kInvalidArgument, an unknown replica or negative clock.
  absl::StatusOr<bool> MayRead(ReplicaId replica, Clock clock) const;

  // Has every group applied every round before `clock`? Once true, stays true.
  bool Settled(Clock clock) const { return slowest_ >= clock; }

  const ConsistencyOptions& options() const { return options_; }
  int32_t num_groups() const;
  int32_t GroupOf(ReplicaId replica) const;
  // Rounds that `group` has applied: the clock of its open round.
  Clock GroupClock(int32_t group) const;
  // The clock after the last push of `replica` that counted, on this shard.
  Clock ReplicaClock(ReplicaId replica) const;
  // Replicas in the open round of `group` so far.
  int32_t Covered(int32_t group) const;
  // Replicas that counted in the last applied round of `group`: the divisor of its mean.
  int32_t LastRoundSize(int32_t group) const;
  // Those replicas, as disjoint ranges.
  std::vector<ReplicaRange> LastRound(int32_t group) const;
  // By how much the last applied round of `group` was ahead of the slowest group's, just before it was
  // applied.
  Clock LastRoundLead(int32_t group) const;
  // By replica, its minibatches that counted.
  const std::vector<int64_t>& applied() const { return applied_; }
  // Minibatches of single replicas without which a round was closed.
  int64_t dropped() const { return dropped_; }

 private:
  struct Group {
    Clock clock = 0;
    // Held nodes, counted from the group's first replica. Disjoint, and never two siblings, which are their
    // parent: so a range is covered exactly if one held node contains it.
    std::vector<ReplicaRange> held;
    std::vector<ReplicaRange> last_round;  // as `held` was when it closed
    Clock last_round_lead = 0;
  };

  explicit ConsistencyPolicy(const ConsistencyOptions& options);
  absl::Status CheckReplica(ReplicaId replica) const;
  absl::Status CheckRange(ReplicaRange range) const;
  absl::Status CheckClock(ReplicaRange range, Clock clock) const;
  absl::Status CheckRound(int32_t group, Clock clock, absl::Span<const ReplicaRange> covered) const;
  // `range`, counted from its group's first replica.
  ReplicaRange InGroup(ReplicaRange range) const;
  bool ReadableAt(int32_t group, Clock clock) const;
  Action OnClosedRound(ReplicaRange range, Clock clock) const;
  void Hold(Group& group, ReplicaRange node) const;
  bool IsComplete(int32_t group) const;
  void CloseRound(int32_t group);

  ConsistencyOptions options_;
  ReplicaTree tree_;
  std::vector<Group> groups_;
  Clock slowest_ = 0;  // smallest clock of a group
  std::vector<Clock> replica_clocks_;
  std::vector<int64_t> applied_;
  int64_t dropped_ = 0;
};

// "hold", "apply", ... for messages and logs.
absl::string_view ToString(ConsistencyPolicy::Action action);

}  // namespace tessera
