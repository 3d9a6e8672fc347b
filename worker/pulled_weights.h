// The weights that have come for the replicas that run here: for each group two generations of every block,
// so that answers for the next minibatch install beside the ones that the present step still works with.
// Replicas of one group share theirs, since they read the same version.
//
// A block is copied into place; or, where that may be, it stays where it lies and nothing is copied: when all
// its shards have come in memory that may be held (TensorBytes::Piece::lasting), each where the one before it
// ends. The first shard that does not adjoin the others makes it a copy after all, of those that were held
// too.
#pragma once

#include <cstdint>
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
  enum class Keep {
    kCopies,
    kInPlace,  // where they adjoin; the server must be able to spare the memory until Release
  };

  // `groups`: of each group the replicas that run here, ascending and disjoint.
  PulledWeights(const ShardLayout& layout, std::vector<ReplicaRange> groups, Keep keep = Keep::kCopies);

  const std::vector<ReplicaRange>& groups() const { return groups_; }

  // Weights of `block` for minibatch `clock` are about to be asked for; none for a later one are taken.
  void Expect(int group, int block, Clock clock);

  // Takes the weights of `shard` for minibatch `clock` of `replicas`: copies them into place (the one copy of
  // a pull), or holds them where they lie. A repeated answer is ignored. Errors: kInvalidArgument, the wrong
  // length, an unknown shard, replicas that do not run here; kFailedPrecondition, a clock that nobody has
  // asked for.
  absl::Status Install(ShardId shard, ReplicaRange replicas, Clock clock, Version version,
                       const TensorBytes& tensor);

  // The round of minibatch `clock` was closed on `shard` without the push of `replicas`: its weights for
  // clock + 1 will not come; `round` is the shard's round now. Errors: kInvalidArgument, as Install, or a
  // round not after `clock`; kFailedPrecondition, as Install.
  absl::Status Drop(ShardId shard, ReplicaRange replicas, Clock clock, Clock round);

  // The whole block for minibatch `clock`, once all its shards have come, 64-byte aligned; to be read alone.
  // It stays as it is until Release, and until weights for clock + 2 come, which is after `clock` has been
  // pushed. Errors: kDeadlineExceeded, names the layer; kFailedPrecondition, released; what Fail was told.
  absl::StatusOr<absl::Span<const float>> Wait(int group, int block, Clock clock, absl::Time deadline);

  // Nobody reads the weights of `group` for minibatch `clock`, or for one before, any more: what is held in
  // place is dropped. To be called before the first push of a later minibatch, since that push tells the
  // servers.
  void Release(int group, Clock clock);

  // Waits until some group's first block is there for the group's clock; of several such groups the one with
  // the lowest clock, then the lowest index. What the first block waited for are pushes of steps that have
  // begun, and a step that has begun ends by itself: it only waits for pushes of lower clocks. So a step that
  // starts never waits for a replica that has not run yet. `clocks` is by group; kNoClock: not that group.
  // Errors: as Wait.
  static constexpr Clock kNoClock = -1;
  absl::StatusOr<int> WaitForAny(absl::Span<const Clock> clocks, absl::Time deadline);

  // Waits until every shard has answered the push of minibatch clock - 1, with weights or a drop. Returns the
  // clock to go on with: `clock` itself, or the furthest round that a shard told. Errors: as Wait.
  absl::StatusOr<Clock> WaitForAnswers(int group, Clock clock, absl::Time deadline);
  // Whether a shard dropped the push of minibatch clock - 1; after WaitForAnswers.
  bool WasDropped(int group, Clock clock) const;

  // Have the weights of `shard` for minibatch `clock` come?
  bool Has(int group, ShardId shard, Clock clock) const;
  // Version of the weights of `shard` that came for `clock`; after Wait.
  Version version(int group, ShardId shard, Clock clock) const;

  // Nobody reads any of it any more: what is held in place is dropped, and nothing more is taken. After Fail,
  // or when all is over.
  void DropAll();

  // Wakes every waiter with `status`; the first call counts.
  void Fail(absl::Status status);

  int64_t copied_bytes() const;  // by Install; what is read in place is not

 private:
  using Owner = std::shared_ptr<const void>;
  enum class Where { kNowhere, kInPlace, kCopy };
  struct Generation {
    explicit Generation(size_t shards)
        : held(shards), taken(shards, kNoClock), clocks(shards, kNoClock), versions(shards, -1) {}

    Clock clock = kNoClock;                // the newest that a shard has come for
    Where where = Where::kNowhere;         // the block for it
    uintptr_t begin = 0;                   // of the block's floats, in place
    std::vector<Owner> held;               // per shard: keeps it there, in place
    std::shared_ptr<TensorBuffer> values;  // the copy; null until one is made
    std::vector<Clock> taken;   // per shard: what Install has taken, though it may still be copying
    std::vector<Clock> clocks;  // per shard: what is there to be read
    std::vector<Version> versions;
  };
  // A shard that was held and must be copied.
  struct Moved {
    size_t index = 0;
    TensorBytes tensor;
  };
  struct Dropped {
    Clock clock = kNoClock;  // whose weights do not come
    Clock round = 0;         // of the shard, when it said so
  };
  struct Block {
    explicit Block(size_t shards) : generations{Generation(shards), Generation(shards)}, dropped(shards) {}

    Generation generations[2];  // by clock modulo 2
    Clock expected = kNoClock;
    std::vector<Dropped> dropped;  // per shard of the block
  };

  absl::StatusOr<int> GroupOf(ReplicaRange replicas) const;
  absl::StatusOr<const Shard*> FindShard(ShardId shard) const;
  size_t IndexInBlock(const Shard& shard) const;
  const Shard& ShardAt(int block, size_t index) const;
  // Weights for `clock` begin to come; returns what was held for the clock before.
  static std::vector<Owner> BeginLocked(Generation* generation, Clock clock);
  // Holds the weights of `shard` where they lie, if they may be and adjoin what is held of its block.
  bool HoldLocked(Generation* generation, const Shard& shard, const TensorBytes& tensor) const;
  // From now on the block is copied: gives up what is held, for the caller to copy.
  std::vector<Moved> GiveUpLocked(Generation* generation, int block) const;
  // Copies weights to where they belong in `values`, which is the block.
  static void CopyInto(TensorBuffer* values, const Shard& shard, const TensorBytes& tensor);
  bool IsComplete(int group, int block, Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsBlockAnswered(const Block& block, Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsAnswered(int group, Clock clock) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Waits for `done`. Errors: what Fail was told; kDeadlineExceeded, `what` did not come in time.
  template <typename Done, typename What>
  absl::Status WaitUntil(Done done, What what, absl::Time deadline) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ShardLayout layout_;
  const std::vector<ReplicaRange> groups_;
  const Keep keep_;
  mutable Mutex mutex_;
  CondVar arrived_;
  // [group][block]. Guarded by mutex_, but for the floats of values, which are written before their clock is.
  std::vector<std::vector<Block>> blocks_;
  std::vector<Clock> released_
      ABSL_GUARDED_BY(mutex_);  // by group: weights for clocks before this are not read any more
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  int64_t copied_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tessera
