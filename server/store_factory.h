// The parameter store that a job asks for.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/shard_layout.h"
#include "common/types.h"
#include "config/job_spec.h"
#include "server/parameter_store.h"

namespace tessera {

// Gives memory for so many bytes of versions, or null.
using VersionMemorySource = std::function<std::shared_ptr<TensorMemory>(size_t bytes)>;

// What a store goes on from, and where what it saves goes: ParameterStoreOptions::restore and on_snapshot.
struct CheckpointHooks {
  std::function<absl::StatusOr<ShardSnapshot>(ShardId)> restore;  // empty: the job's first values
  Clock every = 0;                                                // steps between two checkpoints; 0: never
  std::function<void(ShardSnapshot)> on_snapshot;                 // empty: nothing is saved
};

// What a store needs where shards have backups.
struct ReplicationHooks {
  std::shared_ptr<ForwardSink> forwards;  // ParameterStoreOptions::forwards
  std::vector<ShardId> expected;  // beside those held: what will be copied here, for the size of memory
};

// Groups of replicas, as `train` says it. A group of 0, of a job that was not loaded from a file, is the
// mode's own: all replicas in sync; one in async and ssp.
int32_t GroupsOf(const TrainSpec& train);
// The version of a shard that has applied every replica's every minibatch before `clock`. 0 where no run gets
// to.
Version VersionAt(Clock clock, const TrainSpec& train);

// The store that `job` asks for, with `held` of the layout's shards. `units` are the replicas of each worker
// (ConsistencyOptions). In async there is no staleness bound. `shard_digests` are those of the coordinator's
// weights file (WeightsPlan); empty: not compared. Versions lie in what `version_memory` gives for them;
// empty: on the heap. Errors: kInvalidArgument, names the key; kFailedPrecondition, model.weights is another
// file here; those of StartingWeights, ParameterStore::Create and `checkpoints.restore`.
absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(
    const JobSpec& job, const ShardLayout& layout, int64_t steps_per_epoch,
    absl::Span<const ReplicaRange> units, absl::Span<const ShardId> held,
    absl::Span<const uint64_t> shard_digests = {}, const VersionMemorySource& version_memory = {},
    const CheckpointHooks& checkpoints = {}, const ReplicationHooks& replication = {});

}  // namespace tessera
