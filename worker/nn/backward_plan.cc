#include "worker/nn/backward_plan.h"

namespace tessera::nn {

BackwardPlan::BackwardPlan(const Graph& graph) {
  const std::vector<Node>& nodes = graph.nodes();
  const int count = static_cast<int>(nodes.size());
  needs_gradient_.resize(count);
  writes_.resize(count);
  uses_.assign(count, 0);
  last_use_.resize(count);
  for (int n = 0; n < count; ++n) {
    needs_gradient_[n] = nodes[n].weight_block >= 0;
    last_use_[n] = n;
    for (int input : nodes[n].inputs) {
      if (Graph::IsInput(input)) continue;
      if (needs_gradient_[input]) needs_gradient_[n] = true;
      ++uses_[input];
      last_use_[input] = n;
    }
  }
  std::vector<bool> stored(count, false);
  for (int n = count - 1; n >= 0; --n) {
    for (int input : nodes[n].inputs) {
      if (Graph::IsInput(input) || !needs_gradient_[input]) {
        writes_[n].push_back(GradientWrite::kSkip);
      } else {
        writes_[n].push_back(stored[input] ? GradientWrite::kAdd : GradientWrite::kStore);
        stored[input] = true;
      }
    }
  }
}

}  // namespace tessera::nn
