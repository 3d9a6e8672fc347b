#include "worker/local_reducer.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace tessera {
namespace {

void AddInto(const TensorBuffer& from, TensorBuffer* to) {
  const float* __restrict source = from.data();
  float* __restrict target = to->data();
  for (size_t i = 0; i < to->size(); ++i) target[i] += source[i];
}

}  // namespace

LocalReducer::LocalReducer(const ReplicaTree& tree, ReplicaRange replicas)
    : tree_(tree), cover_(tree.Cover(replicas)) {}

std::optional<LocalReducer::Node> LocalReducer::Add(ReplicaId replica,
                                                    std::shared_ptr<TensorBuffer> gradient) {
  Node node{{replica, replica}, std::move(gradient)};
  while (std::find(cover_.begin(), cover_.end(), node.replicas) == cover_.end()) {
    const std::optional<ReplicaRange> sibling = tree_.Sibling(node.replicas);
    TESSERA_CHECK(sibling.has_value());
    const auto found =
        std::find_if(held_.begin(), held_.end(), [&](const Node& held) { return held.replicas == *sibling; });
    if (found == held_.end()) {
      held_.push_back(std::move(node));
      return std::nullopt;
    }
    AddInto(*node.sum,
            found->sum.get());  // IEEE addition commutes, so it does not matter which side is the target
    node = {{std::min(node.replicas.first, sibling->first), std::max(node.replicas.last, sibling->last)},
            std::move(found->sum)};
    held_.erase(found);
  }
  return node;
}

}  // namespace tessera
