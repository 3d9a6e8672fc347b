// Which gradients a backward pass needs, and where it stores or adds: what all executors have in common.
// Backward visits the nodes from last to first. The first visitor of a gradient stores into it, later ones
// add, so an output that is used twice (a residual connection) gets the sum in one fixed order.
#pragma once

#include <cstddef>
#include <vector>

#include "worker/nn/graph.h"

namespace tessera::nn {

enum class GradientWrite {
  kSkip,   // nothing below is trained: do not compute it
  kStore,  // the first in backward order: overwrite, contents are undefined
  kAdd,    // add to what is there
};

// Immutable; refers to nothing of the graph.
class BackwardPlan {
 public:
  explicit BackwardPlan(const Graph& graph);

  // Whether the node's output has a gradient at all: the node or one below it has weights.
  bool NeedsGradient(int node) const { return needs_gradient_[node]; }

  // What the backward of `node` does with the gradient of its input `i`; kSkip if !NeedsGradient(node).
  GradientWrite InputGradient(int node, size_t i) const { return writes_[node][i]; }

  // How many inputs of later nodes read the node's output (an executor may work in place when it is 1).
  int Uses(int node) const { return uses_[node]; }

  // Index of the last node in order that reads the node's output in forward; the node itself for the loss.
  int LastUse(int node) const { return last_use_[node]; }

 private:
  std::vector<bool> needs_gradient_;
  std::vector<std::vector<GradientWrite>> writes_;
  std::vector<int> uses_;
  std::vector<int> last_use_;
};

}  // namespace tessera::nn
