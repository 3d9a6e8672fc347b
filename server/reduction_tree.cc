#include "server/reduction_tree.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace tessera {
namespace {

void AddTo(const TensorBuffer& sum, TensorBuffer& out) {
  const float* __restrict from = sum.data();
  float* __restrict to = out.data();
  const size_t length = out.size();
  for (size_t i = 0; i < length; ++i) to[i] += from[i];
}

ReplicaRange Parent(ReplicaRange node, ReplicaRange sibling) {
  return {std::min(node.first, sibling.first), std::max(node.last, sibling.last)};
}

}  // namespace

ReductionTree::ReductionTree(int32_t group, size_t length, std::shared_ptr<BufferPool> pool)
    : tree_(group), length_(length), pool_(std::move(pool)) {}

void ReductionTree::Add(ReplicaRange node, const TensorBytes& sum) {
  TESSERA_CHECK(tree_.IsNode(node));
  const auto inside = [node](const Partial& partial) { return node.Contains(partial.node); };
  partials_.erase(std::remove_if(partials_.begin(), partials_.end(), inside), partials_.end());

  std::shared_ptr<TensorBuffer> total;
  for (auto sibling = tree_.Sibling(node); sibling.has_value(); sibling = tree_.Sibling(node)) {
    std::shared_ptr<TensorBuffer> other = Take(*sibling);
    if (other == nullptr) break;
    if (total == nullptr) {
      sum.AddTo(other->span());
    } else {
      AddTo(*total, *other);
    }
    total = std::move(other);
    node = Parent(node, *sibling);
  }
  if (total == nullptr) {
    total = pool_->Take(length_);
    sum.CopyTo(total->span());
    copied_bytes_ += static_cast<int64_t>(sum.size_bytes());
  }
  partials_.push_back({node, std::move(total)});
}

std::shared_ptr<TensorBuffer> ReductionTree::TakeRoot() {
  TESSERA_CHECK(!partials_.empty());
  const auto earlier = [](const Partial& a, const Partial& b) { return a.node.first < b.node.first; };
  std::sort(partials_.begin(), partials_.end(), earlier);
  // Level by level: of a node of `width` replicas at most two children are left, and they are neighbours.
  for (int64_t width = 2; partials_.size() > 1; width *= 2) {
    std::vector<Partial> level;
    for (Partial& partial : partials_) {
      if (!level.empty() && level.back().node.first / width == partial.node.first / width) {
        AddTo(*partial.sum, *level.back().sum);
      } else {
        level.push_back(std::move(partial));
      }
    }
    partials_ = std::move(level);
  }
  std::shared_ptr<TensorBuffer> root = std::move(partials_.front().sum);
  partials_.clear();
  return root;
}

// The sum held for exactly `node`, no longer held; null if there is none.
std::shared_ptr<TensorBuffer> ReductionTree::Take(ReplicaRange node) {
  const auto found = std::find_if(partials_.begin(), partials_.end(),
                                  [node](const Partial& partial) { return partial.node == node; });
  if (found == partials_.end()) return nullptr;
  std::shared_ptr<TensorBuffer> sum = std::move(found->sum);
  partials_.erase(found);
  return sum;
}

}  // namespace tessera
