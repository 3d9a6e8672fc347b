// The weights that have come for the replicas that run here: for each group two generations of every block, so that
// answers for the next minibatch install beside the ones that the present step still works with. Replicas of one
// group share theirs, since they read the same version.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/mutex.h"
#include "common/shard_layout.h"
#include "common/tensor_buffer.h"
#include "common/tensor_bytes.h"

namespace tessera {

// Thread-safe: one thread waits and computes, transport threads install (one at a time for a given shard).
// `group` is everywhere an index into the groups that run here.
class PulledWeights {
 public:
  // `groups`: of each group the replicas that run here, ascending and disjoint.
  PulledWeights(const ShardLayout& layout, std::vector<ReplicaRange> groups);

  const std::vector<ReplicaRange>& groups() const { return groups_; }

  // Weights of `block` for minibatch `clock` are about to be asked for; none for a later one are taken.
  void Expect(int group, int block, Clock clock);

  // Copies the weights of `shard` for minibatch `clock` of `replicas` into place (the one copy of a pull). A repeated
  // answer is ignored. Errors: kInvalidArgument, the wrong length, an unknown shard, replicas that do not run here;
  // kFailedPrecondition, a clock that nobody has asked for.
  absl::Status Install(ShardId shard, ReplicaRange replicas, Clock clock, Version version,
                       const TensorBytes& tensor);

  // The round of minibatch `clock` was closed on `shard` without the push of `replicas`: its weights for clock + 1 will
  // not come; `round` is the shard's round now. Errors: kInvalidArgument, as Install, or a round not after `clock`; kFailedPrecondition, as Install.
  absl::Status Drop(ShardId shard, ReplicaRange replicas, Clock clock, Clock round);

  // The whole block for minibatch `clock`, once all its shards have come; stays as it is until weights for
  // clock + 2 come, which is after `clock` has been pushed. Errors: kDeadlineExceeded, names the layer; what
  // Fail was told.
  absl::StatusOr<absl::Span<const float>> Wait(int group, int block, Clock clock, absl::Time deadline);

  // Waits until some group's first block is there for the group's clock; of several such groups the one with the
  // lowest clock, then the lowest index. What the first block waited for are pushes of steps that have begun, and a
  // step that has begun ends by itself: it only waits for pushes of lower clocks. So a step that starts never waits
  // for a replica that has not run yet. `clocks` is by group; kNoClock: not that group. Errors: as Wait.
  static constexpr Clock kNoClock = -1;
  absl::StatusOr<int> WaitForAny(absl::Span<const Clock> clocks, absl::Time deadline);

  // Waits until every shard has answered the push of minibatch clock - 1, with weights or a drop. Returns the clock to
  // go on with: `clock` itself, or the furthest round that a shard told. Errors: as Wait.
  absl::StatusOr<Clock> WaitForAnswers(int group, Clock clock, absl::Time deadline);
  // Whether a shard dropped the push of minibatch clock - 1; after WaitForAnswers.
  bool WasDropped(int group, Clock clock) const;

  // Have the weights of `shard` for minibatch `clock` come?
  bool Has(int group, ShardId shard, Clock clock) const;
  // Version of the weights of `shard` that came for `clock`; after Wait.
  Version version(int group, ShardId shard, Clock clock) const;

  // Wakes every waiter with `status`; the first call counts.
  void Fail(absl::Status status);

  int64_t copied_bytes() const;  // by Install

 private:
  struct Generation {
    std::shared_ptr<TensorBuffer> values;  // the block
    std::vector<Clock> clocks;             // per shard of the block: what it holds, -1 at first
    std::vector<Version> versions;
  };
  struct Dropped {
    Clock clock = kNoClock;  // whose weights do not come
    Clock round = 0;         // of the shard, when it said so
  };
  struct Block {
    Generation generations[2];  // by clock modulo 2
    Clock expected = kNoClock;
    std::vector<Dropped> dropped;  // per shard of the block
  };

  absl::StatusOr<int> GroupOf(ReplicaRange replicas) const;
  absl::StatusOr<const Shard*> FindShard(ShardId shard) const;
  size_t IndexInBlock(const Shard& shard) const;
  bool IsComplete(int group, int block, Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsBlockAnswered(const Block& block, Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsAnswered(int group, Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits for `done`. Errors: what Fail was told; kDeadlineExceeded, `what` did not come in time.
  template <typename Done, typename What>
  absl::Status WaitUntil(Done done, What what, absl::Time deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ShardLayout layout_;
  const std::vector<ReplicaRange> groups_;
  mutable Mutex mutex_;
  CondVar arrived_;
  // [group][block]. Guarded by mutex_, but for values, which are written before their clock is.
  std::vector<std::vector<Block>> blocks_;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  int64_t copied_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tessera
