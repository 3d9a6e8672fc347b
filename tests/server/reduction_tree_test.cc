#include "server/reduction_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <vector>

#include "common/replica_tree.h"
#include "tests/server/test_shards.h"

namespace tessera {
namespace {

constexpr size_t kLength = 37;

ReductionTree MakeTree(int32_t group) {
  return ReductionTree(group, kLength, std::make_shared<BufferPool>(1 << 20));
}

std::vector<Floats> RandomLeaves(std::mt19937& random, int32_t group) {
  std::vector<Floats> leaves(group);
  for (Floats& leaf : leaves) leaf = RandomFloats(random, kLength);
  return leaves;
}

// Cuts 0..group-1 at random between workers; each pushes the nodes that make up its replicas.
std::vector<ReplicaRange> RandomNodes(std::mt19937& random, int32_t group) {
  std::vector<ReplicaRange> nodes;
  for (ReplicaId first = 0; first < group;) {
    const auto last = static_cast<ReplicaId>(first + random() % (group - first));
    for (const ReplicaRange node : ReplicaTree(group).Cover({first, last})) nodes.push_back(node);
    first = last + 1;
  }
  std::shuffle(nodes.begin(), nodes.end(), random);
  return nodes;
}

TEST(ReductionTree, SumIsThatOfTheTreeForAnyOrderAndAnyPartition) {
  std::mt19937 random(1);
  for (const int32_t group : {1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 33}) {
    const std::vector<Floats> leaves = RandomLeaves(random, group);
    const Floats expected = NaiveTreeSum(leaves);
    ReductionTree tree = MakeTree(group);
    for (int round = 0; round < 30; ++round) {
      for (const ReplicaRange node : RandomNodes(random, group)) tree.Add(node, Bytes(NodeSum(leaves, node)));
      ASSERT_TRUE(SameBits(Values(*tree.TakeRoot()), expected)) << "group " << group << ", round " << round;
      ASSERT_EQ(tree.held(), 0U);
    }
  }
}

TEST(ReductionTree, OrderOfAdditionsShowsInTheBits) {
  // The oracle of the test above would be worth nothing if any order gave these bits.
  std::mt19937 random(2);
  const std::vector<Floats> leaves = RandomLeaves(random, 8);
  Floats in_order = leaves[0];
  for (size_t leaf = 1; leaf < leaves.size(); ++leaf) {
    for (size_t i = 0; i < kLength; ++i) in_order[i] += leaves[leaf][i];
  }
  EXPECT_FALSE(SameBits(in_order, NaiveTreeSum(leaves)));
}

TEST(ReductionTree, ContainingNodeReplacesWhatIsHeld) {
  std::mt19937 random(3);
  const std::vector<Floats> leaves = RandomLeaves(random, 8);
  ReductionTree tree = MakeTree(8);
  // What is replaced would spoil the sum if a trace of it stayed.
  tree.Add({0, 0}, Bytes(Floats(kLength, 1e6F)));
  tree.Add({2, 3}, Bytes(Floats(kLength, 1e6F)));
  tree.Add({4, 7}, Bytes(NodeSum(leaves, {4, 7})));
  tree.Add({0, 3}, Bytes(NodeSum(leaves, {0, 3})));
  EXPECT_EQ(tree.held(), 1U);
  EXPECT_TRUE(SameBits(Values(*tree.TakeRoot()), NaiveTreeSum(leaves)));
}

TEST(ReductionTree, MissingReplicasLeaveTheTreeOfThosePresent) {
  std::mt19937 random(4);
  for (const int32_t group : {3, 5, 6, 7, 8}) {
    const std::vector<Floats> leaves = RandomLeaves(random, group);
    for (uint32_t present = 1; present < (1U << group); ++present) {
      std::vector<Floats> some = leaves;
      std::vector<ReplicaId> order;
      for (ReplicaId replica = 0; replica < group; ++replica) {
        if ((present >> replica & 1U) != 0) {
          order.push_back(replica);
        } else {
          some[replica].clear();
        }
      }
      std::shuffle(order.begin(), order.end(), random);
      ReductionTree tree = MakeTree(group);
      for (const ReplicaId replica : order) tree.Add({replica, replica}, Bytes(leaves[replica]));
      ASSERT_TRUE(SameBits(Values(*tree.TakeRoot()), NaiveTreeSum(some)))
          << "group " << group << ", present " << present;
    }
  }
}

TEST(ReductionTree, MergesSiblingsUpwardsAsTheyArrive) {
  ReductionTree tree = MakeTree(5);
  std::vector<size_t> held;
  for (const ReplicaId replica : {3, 0, 2, 1, 4}) {
    tree.Add({replica, replica}, Bytes(Floats(kLength, 1)));
    held.push_back(tree.held());
  }
  EXPECT_EQ(held, (std::vector<size_t>{1, 2, 2, 1, 1}));
  EXPECT_EQ(Values(*tree.TakeRoot()), Floats(kLength, 5));
}

TEST(ReductionTree, HoldsAtMostHalfAGroupOfBuffers) {
  std::mt19937 random(5);
  for (const int32_t group : {1, 2, 3, 5, 8, 13}) {
    const std::vector<Floats> leaves = RandomLeaves(random, group);
    std::vector<ReplicaId> order(group);
    size_t most = 0;
    for (int round = 0; round < 50; ++round) {
      for (ReplicaId replica = 0; replica < group; ++replica) order[replica] = replica;
      std::shuffle(order.begin(), order.end(), random);
      // Every second one first: the worst case.
      if (round == 0)
        std::stable_partition(order.begin(), order.end(), [](ReplicaId r) { return r % 2 == 0; });
      ReductionTree tree = MakeTree(group);
      for (const ReplicaId replica : order) {
        tree.Add({replica, replica}, Bytes(leaves[replica]));
        most = std::max(most, tree.held());
      }
    }
    EXPECT_LE(most, static_cast<size_t>((group + 1) / 2)) << "group " << group;
  }
}

TEST(ReductionTree, AddsPiecesThatSplitAFloat) {
  std::mt19937 random(6);
  const std::vector<Floats> leaves = RandomLeaves(random, 2);
  const auto whole = std::make_shared<TensorBuffer>(kLength);
  std::copy(leaves[1].begin(), leaves[1].end(), whole->data());
  const auto* bytes = reinterpret_cast<const uint8_t*>(whole->data());
  TensorBytes pieces;
  for (size_t offset = 0; offset < kLength * sizeof(float); offset += 7) {
    pieces.Append({whole, {bytes + offset, std::min<size_t>(7, kLength * sizeof(float) - offset)}});
  }
  ReductionTree tree = MakeTree(2);
  tree.Add({0, 0}, Bytes(leaves[0]));
  tree.Add({1, 1}, pieces);
  EXPECT_TRUE(SameBits(Values(*tree.TakeRoot()), NaiveTreeSum(leaves)));
}

}  // namespace
}  // namespace tessera
