// The weights that have come for the replicas of one group: two generations of every block, so that answers
// for the next minibatch install beside the ones that the present step still works with.
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
class PulledWeights {
 public:
  explicit PulledWeights(const ShardLayout& layout);

  // Weights of `block` for minibatch `clock` are about to be asked for; none for a later one are taken.
  void Expect(int block, Clock clock);

  // Copies the weights of `shard` for minibatch `clock` into place (the one copy of a pull). A repeated
  // answer is ignored. Errors: kInvalidArgument, the wrong length or an unknown shard; kFailedPrecondition, a
  // clock that nobody has asked for.
  absl::Status Install(ShardId shard, Clock clock, Version version, const TensorBytes& tensor);

  // The whole block for minibatch `clock`, once all its shards have come; stays as it is until weights for
  // clock + 2 come, which is after `clock` has been pushed. Errors: kDeadlineExceeded, names the layer; what
  // Fail was told.
  absl::StatusOr<absl::Span<const float>> Wait(int block, Clock clock, absl::Time deadline);

  // Version of the weights of `shard` that came for `clock`; after Wait.
  Version version(ShardId shard, Clock clock) const;

  // Wakes every waiter with `status`; the first call counts.
  void Fail(absl::Status status);

  int64_t copied_bytes() const;  // by Install

 private:
  struct Generation {
    std::shared_ptr<TensorBuffer> values;  // the block
    std::vector<Clock> clocks;             // per shard of the block: what it holds, -1 at first
    std::vector<Version> versions;
  };
  struct Block {
    Generation generations[2];  // by clock modulo 2
    Clock expected = -1;
  };

  const ShardLayout layout_;
  mutable Mutex mutex_;
  CondVar arrived_;
  std::vector<Block> blocks_;  // clocks and versions guarded by mutex_; values written before their clock is
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  int64_t copied_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tessera
