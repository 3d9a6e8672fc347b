// The shards this server holds: weights, optimizer state, versions.
// Knows nothing of gRPC; ParameterService adapts it. Thread-safe: each shard has a lock of its own.
//
// Invariants, per shard: a version is immutable and shared by all its readers; version v and v-1 are kept until v+1 is
// applied; an update is all or nothing; the tree adds in an order that depends on replica indices alone.
// Memory: weights + slots + one spare version + the unmatched partial sums (at most ceil(group/2) buffers per group
// in reduction).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/shard_layout.h"
#include "common/tensor_buffer.h"
#include "common/tensor_bytes.h"
#include "common/types.h"
#include "server/consistency_policy.h"
#include "server/optimizer.h"
#include "server/schedule.h"

namespace tessera {

struct ParameterStoreOptions {
  uint64_t seed = 0;
  ConsistencyOptions consistency;
  bool linear_lr_scaling = true;     // lr x group / replicas (DESIGN.md section 4)
  double statistics_momentum = 0.1;  // PyTorch's batch-norm momentum m; the server uses 1-(1-m)^(group/replicas)
  std::shared_ptr<const Optimizer> optimizer;
  std::shared_ptr<const Schedule> schedule;
};

struct PushHeader {
  ShardId shard = 0;
  ReplicaRange replicas;
  Clock clock = 0;
  Version base_version = 0;  // the weights it was computed on: staleness = version at application - base_version
};

struct ShardVersion {
  Version version = 0;
  SharedTensor weights;
};

struct StalenessStats {
  int64_t pushes = 0;  // replica pushes applied
  int64_t sum = 0;
  int64_t max = 0;
  std::vector<int64_t> histogram;  // [s] = applied pushes of staleness s; the last bucket (1023) takes all above
};

class ParameterStore {
 public:
  // Called once per Read, without locks held, from the thread that completed the round (or the reader's own).
  using ReadCallback = std::function<void(absl::StatusOr<ShardVersion>)>;

  // Holds `held` shards of `layout` at version 0, initialised from (seed, parameter name, element).
  // Errors: kInvalidArgument, consistency options or an unknown shard.
  static absl::StatusOr<std::unique_ptr<ParameterStore>> Create(ParameterStoreOptions options, ShardLayout layout,
                                                                absl::Span<const ShardId> held);
  ~ParameterStore();

  // Adds `gradient` (sum over the range's minibatch means, float32, the shard's length) to its round; the round that
  // it completes is applied, and the reads that waited for it are answered. All or nothing.
  // Errors: kNotFound, shard not held here; kInvalidArgument, length; those of ConsistencyPolicy::OnPush.
  absl::StatusOr<ConsistencyPolicy::Action> Push(const PushHeader& header, const TensorBytes& gradient);

  // Calls `done` once, when the policy lets `replica` read weights for minibatch `clock`. Never blocks.
  // In sync (one group, staleness 0) it is exactly version `clock`, or kFailedPrecondition if that is gone.
  // Errors, through `done`: kNotFound, kInvalidArgument; after Close(): kCancelled.
  // Limit: kResourceExhausted when more than kMaxParkedReads wait on a shard.
  void Read(ShardId shard, ReplicaId replica, Clock clock, ReadCallback done);
  static constexpr size_t kMaxParkedReads = 1 << 16;

  // The newest version of a held shard, at once. Errors: kNotFound.
  absl::StatusOr<ShardVersion> Latest(ShardId shard) const;

  // Answers every parked read with kCancelled, and all later ones at once. Idempotent.
  void Close();

  const ShardLayout& layout() const;
  absl::Span<const ShardId> held() const;
  size_t parked_reads() const;
  StalenessStats staleness() const;
  // Smallest and largest number of updates over the held shards; {0, 0} when none is held.
  std::pair<Version, Version> VersionRange() const;

 private:
  class ShardState;
  ParameterStore();
  // (members: by the implementation)
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
