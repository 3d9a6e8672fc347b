#include "server/shard_restore.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

// Is it one of shard `id`, and all of one moment? Policy and slots are checked by who takes them.
absl::Status CheckSnapshot(const ShardSnapshot& snapshot, ShardId id, size_t length) {
  const PolicySnapshot& policy = snapshot.policy;
  if (snapshot.shard != id)
    return absl::InvalidArgumentError(absl::StrCat("it is of shard ", snapshot.shard));
  if (snapshot.weights == nullptr || snapshot.weights->size() != length) {
    const size_t size = snapshot.weights == nullptr ? 0 : snapshot.weights->size();
    return absl::InvalidArgumentError(absl::StrCat("it has ", size, " weights, not ", length));
  }
  const auto rounds = std::accumulate(policy.group_clocks.begin(), policy.group_clocks.end(), Version{0});
  const auto applied = std::accumulate(policy.applied.begin(), policy.applied.end(), int64_t{0});
  if (snapshot.version == rounds && snapshot.applied_pushes == applied) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("it is at version ", snapshot.version, " after ", snapshot.applied_pushes,
                   " minibatches, but its policy counted ", rounds, " rounds of ", applied));
}

// A copy of `weights` in the place of `version`.
SharedTensor Placed(const TensorBuffer& weights, Version version, const VersionBuffers& versions) {
  std::shared_ptr<TensorBuffer> placed = versions.Take(version);
  std::copy_n(weights.data(), weights.size(), placed->data());
  return placed;
}

}  // namespace

absl::StatusOr<ShardStart> StartFrom(const ShardSnapshot& snapshot, ShardId id,
                                     const ConsistencyOptions& options, const VersionBuffers& versions,
                                     ShardUpdater& updater) {
  // First, so that sums of its clocks have room.
  TESSERA_ASSIGN_OR_RETURN(ConsistencyPolicy policy, ConsistencyPolicy::Restore(options, snapshot.policy));
  TESSERA_RETURN_IF_ERROR(CheckSnapshot(snapshot, id, updater.length()));
  TESSERA_RETURN_IF_ERROR(updater.SetSlots(snapshot.slots));
  return ShardStart{std::move(policy),
                    {snapshot.version, Placed(*snapshot.weights, snapshot.version, versions)},
                    snapshot.applied_pushes};
}

absl::StatusOr<ShardStart> StartFrom(const ShardCopy& copy, ShardId id, const ConsistencyOptions& options,
                                     const VersionBuffers& versions, ShardUpdater& updater) {
  TESSERA_ASSIGN_OR_RETURN(ShardStart start, StartFrom(copy.snapshot, id, options, versions, updater));
  start.term = copy.term;
  if (copy.previous == nullptr) return start;
  const SharedTensor& previous = copy.previous;
  if (previous->size() != updater.length() || copy.snapshot.version == 0) {
    return absl::InvalidArgumentError(absl::StrCat("the version before ", copy.snapshot.version, " has ",
                                                   previous->size(), " weights, not ", updater.length()));
  }
  start.previous = {copy.snapshot.version - 1, Placed(*previous, copy.snapshot.version - 1, versions)};
  return start;
}

}  // namespace tessera
