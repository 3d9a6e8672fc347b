#include "common/replica_tree.h"

#include <algorithm>

namespace tessera {

bool ReplicaTree::IsNode(ReplicaRange range) const {
  if (range.first < 0 || range.last < range.first || range.last >= group_) return false;
  for (int64_t width = 1;; width *= 2) {
    if (range.first % width != 0) return false;
    if (std::min<int64_t>(range.first + width, group_) - 1 == range.last) return true;
    if (width >= group_) return false;
  }
}

std::optional<ReplicaRange> ReplicaTree::Sibling(ReplicaRange node) const {
  for (int64_t width = 1; width < group_; width *= 2) {
    if (node.first % width != 0 || std::min<int64_t>(node.first + width, group_) - 1 != node.last) continue;
    if (node.first % (2 * width) != 0) {
      const auto first = static_cast<ReplicaId>(node.first - width);
      return ReplicaRange{first, node.first - 1};
    }
    if (node.last + 1 < group_) {
      const int64_t last = std::min<int64_t>(node.first + 2 * width, group_) - 1;
      return ReplicaRange{node.last + 1, static_cast<ReplicaId>(last)};
    }
    // An only child is its parent: look one level up.
  }
  return std::nullopt;
}

std::vector<ReplicaRange> ReplicaTree::Cover(ReplicaRange range) const {
  std::vector<ReplicaRange> nodes;
  for (ReplicaId first = range.first; first <= range.last;) {
    ReplicaRange best{first, first};
    for (ReplicaId last = first; last <= range.last; ++last) {
      if (IsNode({first, last})) best.last = last;
    }
    nodes.push_back(best);
    first = best.last + 1;
  }
  return nodes;
}

}  // namespace tessera
