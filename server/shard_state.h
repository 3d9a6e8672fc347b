// One held shard: its versions, optimizer slots, policy, partial sums and parked reads, under one lock.
// ParameterStore finds the shard and hands over; all rules of a push and a read are here. Thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/tensor_buffer.h"
#include "common/tensor_bytes.h"
#include "common/types.h"
#include "server/consistency_policy.h"
#include "server/reduction_tree.h"
#include "server/staleness_recorder.h"
#include "server/update_rule.h"

namespace tessera {

struct PushHeader {
  ShardId shard = 0;
  ReplicaRange replicas;
  Clock clock = 0;
  // The weights it was computed on: staleness = version at application - base_version.
  Version base_version = 0;
};

struct ShardVersion {
  Version version = 0;
  SharedTensor weights;
};

// Called once per read, without locks held.
using ReadCallback = std::function<void(absl::StatusOr<ShardVersion>)>;

class ShardState {
 public:
  static constexpr size_t kMaxParkedReads = 1 << 16;

  // What all shards of a server share; both outlive the shards.
  struct Shared {
    std::shared_ptr<BufferPool> pool;
    StalenessRecorder* staleness;
  };

  // A shard at version 0 with `weights`; `description` names it in messages.
  ShardState(std::string description, ConsistencyPolicy policy, UpdateRule rule, SharedTensor weights,
             Shared shared);

  // As ParameterStore::Push, Read, Latest and Close.
  absl::StatusOr<ConsistencyPolicy::Action> Push(const PushHeader& header, const TensorBytes& gradient);
  void Read(ReplicaId replica, Clock clock, ReadCallback done);
  ShardVersion Latest() const;
  void Close();

  size_t parked_reads() const;
  int64_t copied_bytes() const;  // of pushes, into an accumulator

 private:
  struct ParkedRead {
    ReplicaId replica;
    Clock clock;
    ReadCallback done;
  };
  using Answer = std::pair<ReadCallback, absl::StatusOr<ShardVersion>>;

  absl::Status CheckPushLocked(const PushHeader& header, const TensorBytes& gradient) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ConsistencyPolicy::Action> PushLocked(const PushHeader& header, const TensorBytes& gradient)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void AddLocked(const PushHeader& header, const TensorBytes& gradient) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ApplyRoundLocked(int32_t group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RecordStalenessLocked(int32_t group) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What a read is answered now; nothing if it must wait.
  std::optional<absl::StatusOr<ShardVersion>> AnswerLocked(ReplicaId replica, Clock clock) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<ShardVersion> VersionForLocked(Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes out the parked reads that have an answer, in the order they came.
  std::vector<Answer> TakeAnsweredLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string description_;
  const ConsistencyOptions options_;
  const UpdateRule rule_;
  const size_t length_;
  const Shared shared_;

  // Guards all that follows: held while a gradient is added and a round applied, never while a read is
  // answered.
  mutable Mutex mutex_;
  ConsistencyPolicy policy_ ABSL_GUARDED_BY(mutex_);
  std::vector<ReductionTree> trees_ ABSL_GUARDED_BY(mutex_);  // one per group
  ShardVersion current_ ABSL_GUARDED_BY(mutex_);
  ShardVersion previous_ ABSL_GUARDED_BY(mutex_);  // version - 1; null at version 0
  std::vector<std::unique_ptr<TensorBuffer>> slots_ ABSL_GUARDED_BY(mutex_);  // of the optimizer
  int64_t applied_pushes_ ABSL_GUARDED_BY(mutex_) = 0;  // minibatches of single replicas, for progress
  // Per replica: the version that its push in the open round was computed on, or kNone.
  std::vector<Version> base_versions_ ABSL_GUARDED_BY(mutex_);
  std::vector<ParkedRead> parked_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace tessera
