// Random pushes against the plain sum in the order of the tree: ranges in any order, ranges that replace what
// they contain, rounds that end short of some replicas. A failure names its seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "common/replica_tree.h"
#include "server/reduction_tree.h"
#include "tests/server/test_shards.h"

namespace tessera {
namespace {

constexpr size_t kLength = 5;
constexpr int kPushes = 100000;
constexpr int32_t kLargestGroup = 33;

std::vector<ReplicaRange> NodesOf(int32_t group) {
  const ReplicaTree tree(group);
  std::vector<ReplicaRange> nodes;
  for (ReplicaId first = 0; first < group; ++first) {
    for (ReplicaId last = first; last < group; ++last) {
      if (tree.IsNode({first, last})) nodes.push_back({first, last});
    }
  }
  return nodes;
}

// One round: which replicas are in, and with what.
class Round {
 public:
  Round(int32_t group, std::mt19937& random)
      : random_(random),
        nodes_(NodesOf(group)),
        leaves_(group),
        tree_(group, kLength, std::make_shared<BufferPool>(1 << 16)),
        wanted_(random() % 3 == 0 ? 1 + random() % group : group) {}

  // Plays it to its end. Returns how many pushes that took, or 0 when the sum is another than the model's.
  int Play() {
    for (int pushes = 1;; ++pushes) {
      const ReplicaRange node = NewNode();
      const bool last = Present() >= wanted_;
      const TensorBytes sum = Bytes(NodeSum(leaves_, node), random_() % 2 == 0);
      if (last) return SumIs(tree_.Complete(node, sum)) && tree_.held() == 0 ? pushes : 0;
      tree_.Add(node, sum);
    }
  }

 private:
  // A node that is not yet covered, whose replicas have gradients now: new ones, also those that were there.
  ReplicaRange NewNode() {
    ReplicaRange node;
    do {
      node = nodes_[random_() % nodes_.size()];
    } while (std::none_of(leaves_.begin() + node.first, leaves_.begin() + node.last + 1,
                          [](const Floats& leaf) { return leaf.empty(); }));
    for (ReplicaId replica = node.first; replica <= node.last; ++replica) {
      leaves_[replica] = RandomFloats(random_, kLength);
    }
    return node;
  }

  size_t Present() const {
    return static_cast<size_t>(
        std::count_if(leaves_.begin(), leaves_.end(), [](const Floats& leaf) { return !leaf.empty(); }));
  }

  // As a push that may be held where it lies, or one that may not.
  static TensorBytes Bytes(const Floats& values, bool lasting) {
    const auto owner = std::make_shared<Floats>(values);
    TensorBytes bytes;
    bytes.Append(
        {owner, {reinterpret_cast<const uint8_t*>(owner->data()), kLength * sizeof(float)}, lasting});
    return bytes;
  }

  bool SumIs(RoundSum sum) const {
    Floats values(kLength);
    sum.ReadNext(absl::MakeSpan(values));
    return SameBits(values, NaiveTreeSum(leaves_));
  }

  std::mt19937& random_;
  const std::vector<ReplicaRange> nodes_;
  std::vector<Floats> leaves_;  // by replica; empty: not in
  ReductionTree tree_;
  const size_t wanted_;  // replicas that are enough
};

TEST(ReductionTreeModel, AnyPushesGiveTheBitsOfTheSumInTheTreesOrder) {
  int pushes = 0;
  for (uint32_t seed = 0; pushes < kPushes; ++seed) {
    std::mt19937 random(seed);
    const auto group = static_cast<int32_t>(1 + random() % kLargestGroup);
    const int more = Round(group, random).Play();
    ASSERT_GT(more, 0) << "seed " << seed << ", a group of " << group;
    pushes += more;
  }
}

}  // namespace
}  // namespace tessera
