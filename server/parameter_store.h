// The shards this server holds: weights, optimizer state, versions.
// Knows nothing of gRPC; ParameterService adapts it. Thread-safe: each shard has a lock of its own, and no
// two are ever held together.
//
// Invariants, per shard (kept by ShardState): a version is immutable and shared by all its readers; version v
// and v-1 are kept until v+1 is applied; an update is all or nothing; the tree adds in an order that depends
// on replica indices alone. Memory: weights + slots + one spare version + the unmatched partial sums (at most
// ceil(group/2) buffers per group in reduction) + versions that readers still hold. Buffers that are free
// again wait in a pool, never more than the worst case above of partial sums in one group.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/shard_layout.h"
#include "common/tensor_bytes.h"
#include "common/types.h"
#include "server/consistency_policy.h"
#include "server/optimizer.h"
#include "server/schedule.h"
#include "server/shard_state.h"
#include "server/staleness_recorder.h"

namespace tessera {

struct ParameterStoreOptions {
  uint64_t seed = 0;
  ConsistencyOptions consistency;
  bool linear_lr_scaling = true;     // lr x group / replicas (DESIGN.md section 4)
  double statistics_momentum = 0.1;  // PyTorch's batch-norm momentum m; see StatisticsAverage
  std::shared_ptr<const Optimizer> optimizer;
  std::shared_ptr<const Schedule> schedule;
};

class ParameterStore {
 public:
  // void(absl::StatusOr<ShardVersion>): called once per Read, without locks held, from the thread that
  // completed the round (or the reader's own).
  using ReadCallback = ::tessera::ReadCallback;

  // Holds `held` shards of `layout` at version 0, initialised from (seed, parameter name, element).
  // Errors: kInvalidArgument, consistency options, statistics_momentum not in [0, 1], no optimizer or
  // schedule, a shard that is unknown or named twice.
  static absl::StatusOr<std::unique_ptr<ParameterStore>> Create(ParameterStoreOptions options,
                                                                ShardLayout layout,
                                                                absl::Span<const ShardId> held);
  // Closes it.
  ~ParameterStore();

  // Adds `gradient` (sum over the range's minibatch means, float32, the shard's length) to its round; the
  // round that it completes is applied, and the reads that waited for it are answered. All or nothing.
  // Errors: kNotFound, shard not held here; kInvalidArgument, length, or a base version that is not yet
  // there; those of ConsistencyPolicy::OnPush.
  absl::StatusOr<ConsistencyPolicy::Action> Push(const PushHeader& header, const TensorBytes& gradient);

  // Calls `done` once, when the policy lets `replica` read weights for minibatch `clock`. Never blocks.
  // In sync (one group) it is exactly version `clock`, or kFailedPrecondition if that is gone; else the
  // newest. Errors, through `done`: kNotFound, kInvalidArgument; after Close(): kCancelled. Limit:
  // kResourceExhausted when more than kMaxParkedReads wait on a shard.
  void Read(ShardId shard, ReplicaId replica, Clock clock, ReadCallback done);
  static constexpr size_t kMaxParkedReads = ShardState::kMaxParkedReads;

  // The newest version of a held shard, at once, also after Close(). Errors: kNotFound.
  absl::StatusOr<ShardVersion> Latest(ShardId shard) const;

  // Answers every parked read with kCancelled, and all later ones at once. Pushes still count. Idempotent.
  void Close();

  const ShardLayout& layout() const { return layout_; }
  absl::Span<const ShardId> held() const { return held_; }
  size_t parked_reads() const;
  // Tensor bytes of pushes that were copied into an accumulator; all others were added from where they
  // arrived.
  int64_t copied_bytes() const;
  StalenessStats staleness() const { return staleness_.stats(); }
  // Smallest and largest number of updates over the held shards; {0, 0} when none is held.
  std::pair<Version, Version> VersionRange() const;

 private:
  struct Rules {
    UpdateRule weights;
    UpdateRule statistics;
  };

  ParameterStore(ParameterStoreOptions options, ShardLayout layout, absl::Span<const ShardId> held);
  static absl::StatusOr<Rules> MakeRules(const ParameterStoreOptions& options);
  absl::Status AddShards(const Rules& rules);
  absl::StatusOr<ShardState*> Find(ShardId shard) const;

  // Constant after construction.
  const ParameterStoreOptions options_;
  const ShardLayout layout_;
  const std::vector<ShardId> held_;

  StalenessRecorder staleness_;                      // synchronises itself
  std::vector<std::unique_ptr<ShardState>> shards_;  // by id, null where not held; constant after Create
};

}  // namespace tessera
