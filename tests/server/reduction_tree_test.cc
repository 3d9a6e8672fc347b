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

// The sum of the round that `last` completes, read in pieces of odd lengths.
Floats Completed(ReductionTree& tree, ReplicaRange node, const TensorBytes& last) {
  RoundSum sum = tree.Complete(node, last);
  Floats values(kLength);
  const absl::Span<float> all = absl::MakeSpan(values);
  for (size_t done = 0, length = 1; done < kLength; done += length, length += 2) {
    length = std::min(length, kLength - done);
    sum.ReadNext(all.subspan(done, length));
  }
  return values;
}

// Pushes the sums of `nodes`, the last of which completes the round.
Floats PushRound(ReductionTree& tree, const std::vector<ReplicaRange>& nodes,
                 const std::vector<Floats>& leaves) {
  for (size_t i = 0; i + 1 < nodes.size(); ++i) tree.Add(nodes[i], Bytes(NodeSum(leaves, nodes[i])));
  return Completed(tree, nodes.back(), Bytes(NodeSum(leaves, nodes.back())));
}

std::vector<ReplicaRange> Singles(const std::vector<ReplicaId>& replicas) {
  std::vector<ReplicaRange> nodes;
  for (const ReplicaId replica : replicas) nodes.push_back({replica, replica});
  return nodes;
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
      ASSERT_TRUE(SameBits(PushRound(tree, RandomNodes(random, group), leaves), expected))
          << "group " << group << ", round " << round;
      ASSERT_EQ(tree.held(), 0U);
    }
  }
}

TEST(ReductionTree, WhatMayBeHeldIsNeitherCopiedNorChanged) {
  std::mt19937 random(6);
  for (const int32_t group : {2, 3, 4, 5, 8, 13}) {
    const std::vector<Floats> leaves = RandomLeaves(random, group);
    const Floats expected = NaiveTreeSum(leaves);
    ReductionTree tree = MakeTree(group);
    for (int round = 0; round < 30; ++round) {
      const std::vector<ReplicaRange> nodes = RandomNodes(random, group);
      std::vector<Floats> pushed;  // in a peer's memory; some pushes come as bytes all the same
      for (const ReplicaRange& node : nodes) pushed.push_back(NodeSum(leaves, node));
      const std::vector<Floats> before = pushed;
      const uint32_t lasting = round < 10 ? ~0U : static_cast<uint32_t>(random());
      const auto owner = std::make_shared<int>();
      const auto bytes = [&](size_t i) {
        TensorBytes tensor;
        const auto* first = reinterpret_cast<const uint8_t*>(pushed[i].data());
        tensor.Append({owner, {first, kLength * sizeof(float)}, (lasting >> i & 1U) != 0});
        return tensor;
      };
      const int64_t copied = tree.copied_bytes();
      for (size_t i = 0; i + 1 < nodes.size(); ++i) tree.Add(nodes[i], bytes(i));
      ASSERT_TRUE(SameBits(Completed(tree, nodes.back(), bytes(nodes.size() - 1)), expected))
          << "group " << group << ", round " << round;
      ASSERT_EQ(owner.use_count(), 1) << "nothing is held after the round";
      ASSERT_EQ(pushed, before);
      if (round < 10) {
        ASSERT_EQ(tree.copied_bytes(), copied);
      }
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
  tree.Add({0, 3}, Bytes(NodeSum(leaves, {0, 3})));
  EXPECT_EQ(tree.held(), 1U);
  // So does the last one.
  tree.Add({5, 5}, Bytes(Floats(kLength, 1e6F)));
  EXPECT_TRUE(SameBits(Completed(tree, {4, 7}, Bytes(NodeSum(leaves, {4, 7}))), NaiveTreeSum(leaves)));
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
      ASSERT_TRUE(SameBits(PushRound(tree, Singles(order), leaves), NaiveTreeSum(some)))
          << "group " << group << ", present " << present;
    }
  }
}

TEST(ReductionTree, MergesSiblingsUpwardsAsTheyArrive) {
  ReductionTree tree = MakeTree(5);
  std::vector<size_t> held;
  for (const ReplicaId replica : {3, 0, 2, 1}) {
    tree.Add({replica, replica}, Bytes(Floats(kLength, 1)));
    held.push_back(tree.held());
  }
  EXPECT_EQ(held, (std::vector<size_t>{1, 2, 2, 1}));
  EXPECT_EQ(Completed(tree, {4, 4}, Bytes(Floats(kLength, 1))), Floats(kLength, 5));
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
      for (size_t i = 0; i + 1 < order.size(); ++i) {
        tree.Add({order[i], order[i]}, Bytes(leaves[order[i]]));
        most = std::max(most, tree.held());
      }
    }
    EXPECT_LE(most, group == 1 ? 0 : static_cast<size_t>((group + 1) / 2)) << "group " << group;
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
  EXPECT_TRUE(SameBits(Completed(tree, {1, 1}, pieces), NaiveTreeSum(leaves)));
  tree.Add({1, 1}, pieces);
  EXPECT_TRUE(SameBits(Completed(tree, {0, 0}, Bytes(leaves[0])), NaiveTreeSum(leaves)));
}

}  // namespace
}  // namespace tessera
