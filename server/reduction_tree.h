// Sums the gradients of one group's round along the fixed tree of common/replica_tree.h, as they arrive: the
// partial sums of two siblings are added as soon as both are there, and so on upwards. IEEE addition is
// commutative, so the bits depend on the tree alone, never on the order of arrival or on who summed a
// subtree. Which pushes count is decided before (ConsistencyPolicy): the tree does not know of clocks.
// Memory: at most ceil(group/2) partial sums between two calls, none in a group of one: the push that
// completes a round is never held. What lies in shared memory is held there and takes no buffer. Not
// thread-safe; the shard's lock guards it. Source: DESIGN.md section 5 and section 14, rules 1, 2 and 4.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "common/replica_tree.h"
#include "common/tensor_buffer.h"
#include "common/tensor_bytes.h"
#include "common/types.h"
#include "server/round_sum.h"

namespace tessera {

class ReductionTree {
 public:
  // For sums of `length` floats over groups of `group` replicas; buffers come from `pool`.
  ReductionTree(int32_t group, size_t length, std::shared_ptr<BufferPool> pool);

  // Adds `sum`, that of the replicas in `node` (counted from the group's first), in place of what is held
  // inside `node`. One pass over the received bytes: they are added to the sibling's sum if that is held,
  // else copied, or held where they lie if they may be (TensorBytes::Piece::lasting). `node` must be a node
  // of the tree and inside of none that is held; `sum` must hold `length` floats.
  void Add(ReplicaRange node, const TensorBytes& sum);

  // The same for the push that completes the round: what the sum of all that is held and `sum` is made of, in
  // the order of the tree (where a child is missing, the other stands for both). Leaves the tree empty for
  // the next round. `sum` outlives the result; nothing of it is copied.
  RoundSum Complete(ReplicaRange node, const TensorBytes& sum);

  // Forgets the open round.
  void Clear() { partials_.clear(); }

  // Bytes that Add has copied so far, and not added: of two siblings the first, unless it could be held.
  int64_t copied_bytes() const { return copied_bytes_; }
  // Partial sums held.
  size_t held() const { return partials_.size(); }

 private:
  struct Partial {
    ReplicaRange node;
    HeldValues sum;
    std::shared_ptr<TensorBuffer> buffer;  // where the sum lies; null: it belongs to a peer
  };
  void EraseInside(ReplicaRange node);
  std::optional<Partial> Take(ReplicaRange node);
  std::optional<Partial> TakeSumWithin(ReplicaId first, int64_t width);
  Partial InBuffer(ReplicaRange node, std::shared_ptr<TensorBuffer> buffer) const;
  Partial Hold(ReplicaRange node, const TensorBytes& sum);
  Partial Sum(const TensorBytes& sum, Partial sibling);
  Partial Sum(Partial a, Partial b);

  ReplicaTree tree_;
  size_t length_;
  std::shared_ptr<BufferPool> pool_;
  std::vector<Partial> partials_;  // disjoint, never two siblings
  int64_t copied_bytes_ = 0;
};

}  // namespace tessera
