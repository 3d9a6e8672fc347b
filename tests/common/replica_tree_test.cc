#include "common/replica_tree.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

using ::testing::ElementsAre;

MATCHER_P2(Range, first, last, "") { return arg == ReplicaRange({first, last}); }

TEST(ReplicaTree, NodesOfFiveReplicasAreThoseOfTheDesign) {
  const ReplicaTree tree(5);
  for (ReplicaRange node : std::vector<ReplicaRange>{{0, 0}, {4, 4}, {0, 1}, {2, 3}, {0, 3}, {0, 4}}) {
    EXPECT_TRUE(tree.IsNode(node)) << ToString(node);
  }
  for (ReplicaRange other :
       std::vector<ReplicaRange>{{1, 2}, {3, 4}, {0, 2}, {-1, 0}, {4, 5}, {3, 2}, {2, 4}}) {
    EXPECT_FALSE(tree.IsNode(other)) << ToString(other);
  }
}

TEST(ReplicaTree, AnOnlyChildIsItsParent) {
  const ReplicaTree tree(5);
  EXPECT_EQ(tree.Sibling({4, 4}), (ReplicaRange{0, 3}));
  EXPECT_EQ(tree.Sibling({0, 3}), (ReplicaRange{4, 4}));
  EXPECT_EQ(tree.Sibling({0, 4}), std::nullopt);
}

TEST(ReplicaTree, AGroupOfOneHasNoSibling) {
  const ReplicaTree tree(1);
  EXPECT_TRUE(tree.IsNode({0, 0}));
  EXPECT_EQ(tree.Sibling({0, 0}), std::nullopt);
}

TEST(ReplicaTree, CoverIsTheFewestNodes) {
  EXPECT_THAT(ReplicaTree(8).Cover({0, 7}), ElementsAre(Range(0, 7)));
  EXPECT_THAT(ReplicaTree(8).Cover({1, 6}), ElementsAre(Range(1, 1), Range(2, 3), Range(4, 5), Range(6, 6)));
  EXPECT_THAT(ReplicaTree(7).Cover({4, 6}), ElementsAre(Range(4, 6)));
  EXPECT_THAT(ReplicaTree(7).Cover({3, 4}), ElementsAre(Range(3, 3), Range(4, 4)));
}

TEST(ReplicaTree, SiblingsClimbToTheRootFromEveryLeafForEveryGroup) {
  for (int32_t group = 1; group <= 33; ++group) {
    const ReplicaTree tree(group);
    for (ReplicaId leaf = 0; leaf < group; ++leaf) {
      ReplicaRange node{leaf, leaf};
      while (const std::optional<ReplicaRange> sibling = tree.Sibling(node)) {
        EXPECT_TRUE(tree.IsNode(*sibling)) << group << ": " << ToString(*sibling);
        EXPECT_EQ(tree.Sibling(*sibling), node);
        node = {std::min(node.first, sibling->first), std::max(node.last, sibling->last)};
        ASSERT_TRUE(tree.IsNode(node)) << group << ": " << ToString(node);
      }
      EXPECT_EQ(node, tree.root());
    }
  }
}

}  // namespace
}  // namespace tessera
