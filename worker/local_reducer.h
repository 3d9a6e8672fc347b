// Sums the gradients of a worker's own replicas along the group's tree, so that it pushes one message for
// each node of the tree that it covers and not one for each replica; the bits are the same.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "common/replica_tree.h"
#include "common/tensor_buffer.h"

namespace tessera {

// For one block of parameters. Not thread-safe.
class LocalReducer {
 public:
  struct Node {
    ReplicaRange replicas;
    std::shared_ptr<TensorBuffer> sum;
  };

  // `replicas` of the group (counted from its first, as are all indices here) are computed here.
  LocalReducer(const ReplicaTree& tree, ReplicaRange replicas);

  // Takes the gradient of `replica`; returns the node to push when it is complete. Each local replica comes
  // once a step.
  std::optional<Node> Add(ReplicaId replica, std::shared_ptr<TensorBuffer> gradient);

 private:
  const ReplicaTree tree_;
  const std::vector<ReplicaRange> cover_;
  std::vector<Node> held_;
};

}  // namespace tessera
