// One held shard: its versions, policy, partial sums, updater and parked reads, under one lock.
// ParameterStore finds the shard and hands over; all rules of a push and a read are here. Thread-safe.
//
// Which version a read of clock c gets, once it may:
// - In one group exactly version c, the weights after c rounds, as on every other server. So v-1 is kept too:
//   a slower worker may still ask for it.
// - With drop_stragglers the newest. The group did not wait for whoever asks late: version c may be gone, and
//   shards may be a round apart. A push that counts is computed on exactly its round's version all the same:
//   it counts while the shard's version is its clock; what it read was no older; versions only grow.
// - With several groups the newest.
//
// A shard is held as its primary, or as a backup, which takes forwards alone and answers nobody. Of a primary
// that has backups (ReleaseGate) all that is said above of versions and rounds, wherever somebody learns of
// them, is of those that are released; a version that a read names waits to be.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/mutex.h"
#include "common/tensor_buffer.h"
#include "common/tensor_bytes.h"
#include "common/trace/trace_recorder.h"
#include "common/types.h"
#include "server/consistency_policy.h"
#include "server/reduction_tree.h"
#include "server/release_gate.h"
#include "server/shard_replication.h"
#include "server/shard_updater.h"
#include "server/shard_version.h"
#include "server/staleness_recorder.h"
#include "server/version_buffers.h"

namespace tessera {

struct PushHeader {
  ShardId shard = 0;
  ReplicaRange replicas;
  Clock clock = 0;
  // The weights it was computed on: staleness = version at application - base_version.
  Version base_version = 0;
};

// What became of a push.
enum class PushState {
  kUnknown,  // it has not come, or not all of it: to be sent
  kHeld,     // its round is open, or not released
  kApplied,
  kDropped,  // its round was closed without it
};

// Who reads; one connection, say.
using ReaderId = uint64_t;
inline constexpr ReaderId kNoReader = 0;

// Where a shard begins: at version 0, or where it was saved.
struct ShardStart {
  ConsistencyPolicy policy;
  ShardVersion at;
  int64_t applied_pushes = 0;  // minibatches of single replicas
  ShardVersion previous = {};  // the version before, where it is kept
  int64_t term = 0;            // of its mark
  int64_t told_term = 0;       // of a copy: under which it came
};

enum class ShardRole { kPrimary, kBackup };

// Of one shard here under a map.
struct ShardDuty {
  ShardRole role = ShardRole::kPrimary;
  // Of a primary: who else holds it, and who is to get a copy and every update from then on.
  std::vector<NodeId> backups;
  std::vector<NodeId> joining;
};

// When a read is answered.
enum class ReadRule {
  kPolicy,   // as soon as the policy lets the replica read
  kSettled,  // once every group has applied every round before the clock: the last weights of a run
};

// Called once per read, without locks held.
using ReadCallback = std::function<void(absl::StatusOr<ShardVersion>)>;

class ShardState {
 public:
  static constexpr size_t kMaxParkedReads = 1 << 16;
  static constexpr size_t kMaxAskedSnapshots = 64;

  // What all shards of a server share; the pools and `staleness` outlive the shards.
  struct Shared {
    std::shared_ptr<BufferPool> pool;       // of partial sums
    std::shared_ptr<BufferPool> forwarded;  // of what backups are told
    StalenessRecorder* staleness;
    Version checkpoint_every = 0;                    // as ParameterStoreOptions
    std::function<void(ShardSnapshot)> on_snapshot;  // likewise
    std::shared_ptr<ForwardSink> forwards;           // likewise
  };

  // A shard at `start`, its weights as long as the updater's, which is at that version too; later versions
  // lie in `versions`. `description` names it in messages.
  ShardState(ShardId id, std::string description, ShardStart start, ShardUpdater updater,
             VersionBuffers versions, Shared shared);

  // As ParameterStore::Push, Read, Latest and Close.
  absl::StatusOr<ConsistencyPolicy::Action> Push(const PushHeader& header, const TensorBytes& gradient,
                                                 TraceTrack trace = {});
  absl::StatusOr<PushState> Probe(const PushHeader& header) const;
  bool Read(ReplicaId replica, Clock clock, ReadCallback done, ReadRule rule = ReadRule::kPolicy,
            ReaderId reader = kNoReader);
  void CancelReads(ReaderId reader);
  absl::StatusOr<ShardVersion> Latest() const;
  void Close();
  // As ParameterStore's.
  absl::Status SnapshotAt(Version version);
  absl::Status SetUnits(const std::vector<ReplicaRange>& units);
  void SetDuty(int64_t term, const ShardDuty& duty);
  absl::Status Forward(int64_t term, const ShardForward& forward);
  ShardMark mark() const;
  absl::Status Copy(const std::function<void(ShardCopy)>& take) const;
  absl::Status OnHas(NodeId backup, Version version);
  absl::StatusOr<bool> Join(NodeId node, Version version);
  // Is it a backup that came to `version`, or further, by what was told under `term`?
  bool Follows(int64_t term, Version version) const;

  ShardRole role() const;
  // A primary of which something may be read.
  bool open() const;
  // 0 before it is open.
  Version released() const;
  size_t parked_reads() const;
  int64_t copied_bytes() const;  // of pushes, into an accumulator
  // By replica, its minibatches that were applied here.
  std::vector<int64_t> applied() const;
  // By replica, the clock of its group's open round.
  std::vector<Clock> next_clocks() const;
  // Minibatches of single replicas without which rounds were closed.
  int64_t dropped() const;

 private:
  struct ParkedRead {
    ReplicaId replica;
    Clock clock;
    ReadRule rule;
    ReaderId reader;
    ReadCallback done;
  };
  using Answer = std::pair<ReadCallback, absl::StatusOr<ShardVersion>>;
  // What is to be done without the lock.
  struct Results {
    std::vector<ShardSnapshot> snapshots;
    std::vector<Answer> answers;
    bool forwarded = false;
  };
  void Deliver(Results results) const;

  absl::Status CheckPrimaryLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of what is released.
  const ConsistencyPolicy& ReleasedLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool OpenLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The largest clock that somebody may ask for on behalf of `replica`.
  Clock LastReadLocked(ReplicaId replica) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsReleasedLocked(const PushHeader& push) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckGateLocked(const PushHeader& header) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LeadLocked(const ShardDuty& duty, Results* results) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Open rounds and what waits for them have never been.
  void FollowLocked(Results* results) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckForwardLocked(int64_t term, const ShardForward& forward) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Room for the next version, in the place of the spare.
  std::shared_ptr<TensorBuffer> NextVersionLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AdvanceLocked(SharedTensor next, int64_t pushes, int64_t term) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // After a round of `group`: to the backups if there are any, `final` being what they need; and what is
  // readable now.
  void TellLocked(int32_t group, double learning_rate, SharedTensor final, Results* results)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReleaseLocked(Results* results) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  absl::Status CheckPushLocked(const PushHeader& header, const TensorBytes& gradient) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ConsistencyPolicy::Action> PushLocked(const PushHeader& header, const TensorBytes& gradient,
                                                       TraceTrack trace, Results* results)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Applies the round that `gradient` completes.
  void ApplyRoundLocked(const PushHeader& header, const TensorBytes& gradient, Results* results)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The replicas of `header`, counted from their group's first.
  ReplicaRange InGroupLocked(const PushHeader& header) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The staleness of the group's replicas in the round; their base versions are forgotten.
  std::vector<int64_t> TakeStalenessLocked(int32_t group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // With delay compensation: the weights that the push of `replica` was computed on, or null; forgotten too.
  SharedTensor TakeReadLocked(ReplicaId replica) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a read is answered now; nothing if it must wait.
  std::optional<absl::StatusOr<ShardVersion>> AnswerLocked(ReplicaId replica, Clock clock, ReadRule rule)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ShardVersion> VersionForLocked(Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Parks a read; gives what is not parked any more, or was refused its place.
  std::optional<Answer> ParkLocked(ParkedRead read) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A copy of all that the shard is now, if its version is one that is to be saved.
  std::optional<ShardSnapshot> CutLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ShardSnapshot SnapshotLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes out the parked reads that have an answer, in the order they came.
  std::vector<Answer> TakeAnsweredLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ShardId id_;
  const std::string description_;
  const ConsistencyOptions options_;
  const size_t length_;
  const bool exact_versions_;  // reads name their version: one group, nobody is dropped
  const bool keeps_reads_;     // delay compensation
  const Shared shared_;

  // Guards all that follows: held while a gradient is added and a round applied, never while a read is
  // answered.
  mutable Mutex mutex_;
  ConsistencyPolicy policy_ ABSL_GUARDED_BY(mutex_);
  std::vector<ReductionTree> trees_ ABSL_GUARDED_BY(mutex_);  // one per group
  VersionBuffers versions_ ABSL_GUARDED_BY(mutex_);
  ShardVersion current_ ABSL_GUARDED_BY(mutex_);
  // version - 1; null where the shard began, and without exact versions.
  ShardVersion previous_ ABSL_GUARDED_BY(mutex_);
  ShardUpdater updater_ ABSL_GUARDED_BY(mutex_);
  int64_t applied_pushes_ ABSL_GUARDED_BY(mutex_);  // minibatches of single replicas, for progress
  // Per replica: the version that its push in the open round was computed on, or kNone.
  std::vector<Version> base_versions_ ABSL_GUARDED_BY(mutex_);
  // With delay compensation, per replica: what it read last, until its push is applied; else empty.
  std::vector<ShardVersion> reads_ ABSL_GUARDED_BY(mutex_);
  std::vector<ParkedRead> parked_ ABSL_GUARDED_BY(mutex_);
  std::set<Version> asked_snapshots_ ABSL_GUARDED_BY(mutex_);  // of versions to come
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  ShardRole role_ ABSL_GUARDED_BY(mutex_) = ShardRole::kPrimary;
  int64_t term_ ABSL_GUARDED_BY(mutex_) = 0;     // of the map that gave the role
  int64_t update_term_ ABSL_GUARDED_BY(mutex_);  // of the mark
  int64_t told_term_
      ABSL_GUARDED_BY(mutex_);  // of a backup: under which it was told of that update, or copied
  // Of a primary with backups, or that is being copied; else null: all is released.
  std::unique_ptr<ReleaseGate> gate_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
