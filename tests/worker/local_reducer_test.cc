#include "worker/local_reducer.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

namespace tessera {
namespace {

std::shared_ptr<TensorBuffer> Gradient(float value) {
  auto gradient = std::make_shared<TensorBuffer>(3);
  for (float& element : gradient->span()) element = value;
  return gradient;
}

// Values whose sum shows the order of additions: float32 addition is not associative.
float ValueOf(ReplicaId replica) {
  return 1.0f / (3.0f + static_cast<float>(replica)) + (replica % 3 == 0 ? 1e7f : 0);
}

float TreeSum(const ReplicaTree& tree, ReplicaRange node) {
  if (node.size() == 1) return ValueOf(node.first);
  ReplicaRange left = node;
  while (!tree.IsNode(left) || left == node) --left.last;
  return TreeSum(tree, left) + TreeSum(tree, {left.last + 1, node.last});
}

TEST(LocalReducer, PushesTheNodesThatCoverItsReplicasWithTheTreesOwnBits) {
  for (int32_t group = 1; group <= 9; ++group) {
    const ReplicaTree tree(group);
    for (ReplicaId first = 0; first < group; ++first) {
      for (ReplicaId last = first; last < group; ++last) {
        LocalReducer reducer(tree, {first, last});
        for (int step = 0; step < 2; ++step) {
          std::vector<ReplicaRange> pushed;
          for (ReplicaId replica = first; replica <= last; ++replica) {
            const std::optional<LocalReducer::Node> node = reducer.Add(replica, Gradient(ValueOf(replica)));
            if (!node.has_value()) continue;
            pushed.push_back(node->replicas);
            EXPECT_EQ(node->sum->data()[2], TreeSum(tree, node->replicas))
                << group << ": " << ToString(node->replicas);
          }
          EXPECT_EQ(pushed, tree.Cover({first, last})) << group << ": " << first << ".." << last;
        }
      }
    }
  }
}

TEST(LocalReducer, AReplicaAloneIsPushedWithoutACopy) {
  LocalReducer reducer(ReplicaTree(4), {2, 2});
  const std::shared_ptr<TensorBuffer> gradient = Gradient(1);
  EXPECT_EQ(reducer.Add(2, gradient)->sum, gradient);
}

}  // namespace
}  // namespace tessera
