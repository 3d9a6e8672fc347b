// The fixed binary tree over the replicas of a group along which gradients are summed, so that the bits do
// not depend on who sums first. Node (j,k) covers replicas [k*2^j, min((k+1)*2^j, group)), counted from the
// group's first; a node without a right child *is* its left child. Servers and workers add along the same
// tree. Pure arithmetic.
// Source: DESIGN.md sections 5 and 14, rule 1.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "common/types.h"

namespace tessera {

// The tree of `group` replicas, indices 0 .. group-1. group >= 1.
class ReplicaTree {
 public:
  explicit ReplicaTree(int32_t group) : group_(group) {}

  int32_t group() const { return group_; }
  ReplicaRange root() const { return {0, group_ - 1}; }
  // Is `range` a node?
  bool IsNode(ReplicaRange range) const;
  // The node that `node` is added to; none for the root. `node` must be a node.
  std::optional<ReplicaRange> Sibling(ReplicaRange node) const;
  // The fewest nodes that make up `range`, in order: what a worker that runs these replicas pushes.
  std::vector<ReplicaRange> Cover(ReplicaRange range) const;

 private:
  int32_t group_;
};

}  // namespace tessera
