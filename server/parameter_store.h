// The shards this server holds: weights, optimizer state, versions.
// Knows nothing of gRPC; ParameterService adapts it. Thread-safe: each shard has a lock of its own, and no
// two are ever held together.
//
// It begins as the primary of all that it holds. SetDuties makes it a backup of some, and gives others away;
// Install adds what another primary copies to it. Pushes, reads and all counts are of shards that it is the
// primary of, and of what is released of them (shard_state.h); a push or read of another fails with
// kUnavailable where it is a backup, or was the primary once: the sender's map is old, or this one's.
//
// Invariants, per shard (kept by ShardState): a version is immutable and shared by all its readers; with
// exact versions (sync) version v and v-1 are kept until v+1 is applied; an update is all or nothing; the
// tree adds in an order that depends on replica indices alone.
//
// Memory at the worst moment, in sizes W of the weights held (S: of the optimizer's slots; R replicas in n
// groups of g; b = drop_stragglers). Nothing is held twice: an answer shares the version's buffer.
//
//   mode               held                   in reduction    versions that slow readers still hold
//   sync               W + S + W, the spare   ceil(R/2) W     none: no round passes a replica that waits
//   sync, dropping     W + S                  ceil(R/2) W     (1 + b) W
//   grouped            W + S                  n ceil(g/2) W   R W: one for each replica
//   async, ssp         W + S                  none            R W
//   delay_compensated  W + S (adaptive: + W)  none            R W: what each replica read, until its push
//
// "In reduction" are unmatched partial sums: all shards of all groups half way through a round at once. While
// a round is applied there is one buffer of one shard more for each thread that applies one. Buffers that
// are free again wait in a pool for the next round: never more than the partial sums of one group and a few
// shards. In sync what waits is what was in reduction, so that 2 W + S + ceil(R/2) W is
// the peak of both. Beyond the store a server holds what is on its way in: at most the credit (CreditWindow)
// of each connection. At the start it holds W + S alone. bench/server_memory.cc measures it. With memory for
// versions (ParameterStoreOptions) all of VersionBytes is there from the start, for W, the spare and what
// readers hold; partial sums then have the pool for themselves. In sync the shards of a block then lie side
// by side (VersionBuffers): nothing more is held for that, and workers that compute on a version in place
// hold none that the store does not keep: who has pushed clock c has dropped version c - 1, before version c
// + 1 takes its place.
//
// A shard that is saved (checkpoint_every, SnapshotAt) is copied: W + S more, on the heap, for each snapshot
// that whoever gets it still has. Shards that are saved at one clock come to it at about the same time:
// expect all of W + S at once. A restored store takes one shard's snapshot at a time, and then begins with W
// + S.
//
// As a backup: W + S, in sync W more for the spare, and nothing in reduction. A primary with backups keeps W
// of each update until every backup has it, or the replicator gives up the one that does not; buffers of one
// update of all shards that are free again wait in a pool for the next.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/exchange.h"
#include "common/mutex.h"
#include "common/shard_layout.h"
#include "common/tensor_bytes.h"
#include "common/types.h"
#include "server/consistency_policy.h"
#include "server/optimizer.h"
#include "server/schedule.h"
#include "server/shard_replication.h"
#include "server/shard_state.h"
#include "server/staleness_recorder.h"
#include "server/version_buffers.h"

namespace tessera {

struct ParameterStoreOptions {
  uint64_t seed = 0;
  ConsistencyOptions consistency;
  bool linear_lr_scaling = true;     // lr x group / replicas (DESIGN.md section 4)
  StalenessCorrection correction;    // of the weights' shards
  double statistics_momentum = 0.1;  // PyTorch's batch-norm momentum m; see StatisticsAverage
  std::shared_ptr<const Optimizer> optimizer;
  // Of parameters with one dimension (biases, weights of normalisations); null: `optimizer` has all.
  std::shared_ptr<const Optimizer> undecayed_optimizer;
  std::shared_ptr<const Schedule> schedule;
  // Writes the values that a shard starts with, all of them; empty: from (seed, parameter name, element).
  std::function<absl::Status(ShardId, absl::Span<float>)> initial;
  // What a shard goes on from, as if it had never stopped; empty: at version 0, from `initial`. Called once
  // for each held shard, in their order; the values are copied and the snapshot is dropped before the next.
  // Whatever was held of open rounds is to be pushed again, and read again what was read: in sync the version
  // before the snapshot's is gone. Staleness is counted from here.
  std::function<absl::StatusOr<ShardSnapshot>(ShardId)> restore;
  // A shard is saved when an update brings it to a version that is a multiple of this; 0: never.
  Version checkpoint_every = 0;
  // Gets the copy of a shard, once for each version that it is to be saved at: `checkpoint_every` and
  // SnapshotAt. Called by the push that completed the round, without locks held, before the reads that
  // waited for the round are answered; of several shards at once. Must not block: that push waits for it.
  std::function<void(ShardSnapshot)> on_snapshot;
  // Where versions lie while it has room (VersionBytes is enough); null: on the heap.
  std::shared_ptr<TensorMemory> version_memory;
  // Gets each update of a shard that has backups, or is being copied. Null: no shard may be either.
  std::shared_ptr<ForwardSink> forwards;
};

class ParameterStore {
 public:
  // void(absl::StatusOr<ShardVersion>): called once per Read, without locks held, from the thread that
  // completed the round (or the reader's own).
  using ReadCallback = ::tessera::ReadCallback;

  // Holds `held` shards of `layout`, at version 0 as `initial` fills them or as `restore` says.
  // Errors: kInvalidArgument, consistency options, those of CheckStalenessCorrection, statistics_momentum not
  // in [0, 1], no optimizer or schedule, an undecayed optimizer of other slots than the optimizer's, a
  // negative checkpoint_every, or one without on_snapshot, a shard that is unknown or named twice; a snapshot
  // (the message names the shard) of another shard, length, slots or consistency than this one's, or whose
  // version and applied_pushes are not what its policy counted; those of `initial` and `restore`.
  static absl::StatusOr<std::unique_ptr<ParameterStore>> Create(ParameterStoreOptions options,
                                                                ShardLayout layout,
                                                                absl::Span<const ShardId> held);
  // Closes it.
  ~ParameterStore();

  // How many bytes the versions of `held` need at once, those that slow readers hold included, within reason:
  // see the table above. Shards that are unknown count for nothing.
  static size_t VersionBytes(const ParameterStoreOptions& options, const ShardLayout& layout,
                             absl::Span<const ShardId> held);

  // Adds `gradient` (sum over the range's minibatch means, float32, the shard's length) to its round; the
  // round that it completes is applied, and the reads that waited for it are answered. All or nothing.
  // Errors: kNotFound, shard not held here; kInvalidArgument, length, or a base version that is not yet
  // there; those of ConsistencyPolicy::OnPush. Reduction and update are recorded in `trace`.
  absl::StatusOr<ConsistencyPolicy::Action> Push(const PushHeader& header, const TensorBytes& gradient,
                                                 TraceTrack trace = {});

  // What became of a push with this header: what Push would find, without pushing.
  // Errors: kNotFound, shard not held here; those of ConsistencyPolicy::OnPush.
  absl::StatusOr<PushState> Probe(const PushHeader& header) const;

  // Calls `done` once, when `rule` lets `replica` read weights for minibatch `clock`. Never blocks. In sync
  // (one group that drops nobody) it is exactly version `clock`, or kFailedPrecondition if that is gone; else
  // the newest. Errors, through `done`: kNotFound, kInvalidArgument, kFailedPrecondition for a clock that no
  // replica can have come to; after Close(): kCancelled. Limit: kResourceExhausted when more than
  // kMaxParkedReads wait on a shard. A `reader` waits at most once for each shard and replica: its earlier
  // read, that waits still, is answered with kCancelled. True: it waits now.
  bool Read(ShardId shard, ReplicaId replica, Clock clock, ReadCallback done,
            ReadRule rule = ReadRule::kPolicy, ReaderId reader = kNoReader);
  static constexpr size_t kMaxParkedReads = ShardState::kMaxParkedReads;

  // Answers what `reader` waits for with kCancelled.
  void CancelReads(ReaderId reader);

  // The newest version of a held shard, at once, also after Close(). Errors: kNotFound; kUnavailable, a
  // backup, or a primary that does not know yet what its backups have.
  absl::StatusOr<ShardVersion> Latest(ShardId shard) const;

  // Saves every held shard at `version` too, when it gets there; asking twice is asking once. Each shard
  // is copied on its own, so where one fails, others may have been asked: drop what comes of them.
  // Errors: kInvalidArgument, `version` is not positive; kFailedPrecondition, a shard (the message names it)
  // is at that version or past it, or there is no on_snapshot; kResourceExhausted, more than
  // kMaxAskedSnapshots versions are waited for.
  absl::Status SnapshotAt(Version version);
  static constexpr size_t kMaxAskedSnapshots = ShardState::kMaxAskedSnapshots;

  // The replicas that each worker runs from now on, for drop_stragglers: ConsistencyPolicy::SetUnits on every
  // held shard. Errors (nothing changed): kInvalidArgument, units that are no cut of the replicas.
  absl::Status SetUnits(const std::vector<ReplicaRange>& units);

  // What this server is to be under map `term`, by shard: shards that are not named are given away, and what
  // is open of those that get another primary is to be pushed to that one. An heir goes on where it is as a
  // backup; nothing can be read of it until its backups have all that may have been released. A backup that
  // is not held yet is to be installed. Calls must not overlap. Errors (nothing changed): kInvalidArgument,
  // an unknown shard, or backups with adaptive delay compensation, whose mean square is not forwarded;
  // kFailedPrecondition, a primary that is not held, or backups without `forwards`.
  absl::Status SetDuties(int64_t term, const std::map<ShardId, ShardDuty>& duties);

  // Of a backup. Makes the update of `forward`, that the primary of `term` has made; one that it has had is
  // OK. Errors (nothing changed): kAborted, it is no backup, or of another term; kFailedPrecondition, it is
  // not held or an update before it is missing; kInvalidArgument, a length, a learning rate that is no
  // number, an update of a later term than this, or a round that cannot be the next.
  absl::Status Forward(int64_t term, const ShardForward& forward);
  // Goes on with `copy` as a backup under `term`, in place of what it had, if that is not as new already.
  // Errors (nothing changed): kAborted, another term, or it is no backup's here; kInvalidArgument, an update
  // of a later term than this; those of StartFrom (shard_restore.h).
  absl::Status Install(int64_t term, const ShardCopy& copy);
  // Version -1: not held.
  ShardMark Mark(ShardId shard) const;

  // Of a primary. Gives `take` all of a shard between two updates: what goes to ForwardSink::Add afterwards
  // comes after it. Called under the shard's lock: must not block, nor call the store. Errors: kNotFound,
  // kUnavailable.
  absl::Status Copy(ShardId shard, const std::function<void(ShardCopy)>& take) const;
  // Backup `node` has everything up to `version`: releases what all have. Who is no backup changes nothing.
  // Errors: kNotFound; kInvalidArgument, a version that is not there yet.
  absl::Status OnHas(ShardId shard, NodeId node, Version version);
  // `node`, a joining server, has everything up to `version`: nothing more is released without it from now
  // on. True: it has all that was released before, so that it may take over. Errors: as Copy.
  absl::StatusOr<bool> Join(ShardId shard, NodeId node, Version version);
  // May something be read of every shard that it is the primary of?
  bool open() const;

  // Answers every parked read with kCancelled, and all later ones at once. Pushes still count. Idempotent.
  void Close();

  const ShardLayout& layout() const { return layout_; }
  // As primary or backup, in the order of their ids.
  std::vector<ShardId> held() const;
  std::vector<ShardId> primaries() const;
  size_t parked_reads() const;
  // Tensor bytes of pushes that were copied into an accumulator; all others were added from where they
  // arrived.
  int64_t copied_bytes() const;
  // Of all applied pushes, those of statistics included.
  StalenessStats staleness() const { return staleness_.stats(); }
  // By replica, the smallest and the largest number of its minibatches that a held shard has applied: both
  // are its clock when each was applied exactly once. Empty when no shard is held.
  std::vector<std::pair<int64_t, int64_t>> AppliedRange() const;
  // By replica, over the held shards, the clock of its group's open round: all that its next push may have.
  // What is held of an open round does not count, it may be pushed again. Empty when no shard is held.
  std::vector<ClockRange> NextClocks() const;
  // Minibatches of single replicas without which rounds were closed, over all held shards.
  int64_t dropped() const;
  // The most updates that one of primaries() has had, those included that are not released; 0 without.
  Version NewestVersion() const;
  // Smallest and largest number of updates over the held shards; {0, 0} when none is held.
  std::pair<Version, Version> VersionRange() const;

 private:
  struct Rules {
    UpdateRule weights;
    UpdateRule statistics;
  };

  using Shards = std::vector<std::shared_ptr<ShardState>>;

  // Where a shard is found.
  struct Place {
    mutable Mutex mutex;                                       // never held while anything else is done
    std::shared_ptr<ShardState> shard ABSL_GUARDED_BY(mutex);  // null: not held
    bool given_away ABSL_GUARDED_BY(mutex) = false;
  };

  ParameterStore(ParameterStoreOptions options, ShardLayout layout, absl::Span<const ShardId> held);
  static absl::StatusOr<Rules> MakeRules(const ParameterStoreOptions& options);
  absl::Status AddShards(absl::Span<const ShardId> held);
  absl::Status CheckHeld(absl::Span<const ShardId> held) const;
  absl::Status CheckDuties(const std::map<ShardId, ShardDuty>& duties) const;
  // For the versions of each of `held`, in order.
  std::vector<VersionBuffers> MakeVersionBuffers(absl::Span<const ShardId> held) const;
  ShardUpdater MakeUpdater(ShardId id) const;
  std::shared_ptr<ShardState> MakeShard(ShardId id, ShardStart start, ShardUpdater updater,
                                        VersionBuffers versions);
  std::shared_ptr<ShardState> At(ShardId shard) const;
  void Put(ShardId id, std::shared_ptr<ShardState> shard);
  absl::StatusOr<std::shared_ptr<ShardState>> Find(ShardId shard) const;
  Shards All() const;
  Shards Primaries() const;

  // Constant after construction.
  const ParameterStoreOptions options_;
  const ShardLayout layout_;
  const std::shared_ptr<BufferPool> pool_;            // on the heap
  const std::shared_ptr<BufferPool> forwarded_pool_;  // on the heap, of the updates that backups are told
  const std::shared_ptr<BufferPool> versions_pool_;   // for versions
  Rules rules_;                                       // constant after Create

  StalenessRecorder staleness_;  // synchronises itself
  std::vector<Place> places_;    // by id

  Mutex duties_mutex_;  // held while duties change or a copy is installed; taken before all others
  int64_t term_ ABSL_GUARDED_BY(duties_mutex_) = 0;
  std::set<ShardId> backups_ ABSL_GUARDED_BY(duties_mutex_);  // held, or to be installed
};

}  // namespace tessera
