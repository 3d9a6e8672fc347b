#include "server/reduction_tree.h"

#include <algorithm>
#include <iterator>
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
  EraseInside(node);
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

RoundSum ReductionTree::Complete(ReplicaRange node, const TensorBytes& sum) {
  TESSERA_CHECK(tree_.IsNode(node));
  EraseInside(node);
  std::vector<std::shared_ptr<TensorBuffer>> partials;
  for (int64_t width = 2; !partials_.empty(); width *= 2) {
    // All that is held under the ancestor of this width and was not under the one below: the sibling of that.
    std::shared_ptr<TensorBuffer> sibling = TakeSumWithin(node.first, width);
    if (sibling != nullptr) partials.push_back(std::move(sibling));
  }
  return RoundSum(sum, std::move(partials));
}

void ReductionTree::EraseInside(ReplicaRange node) {
  const auto inside = [node](const Partial& partial) { return node.Contains(partial.node); };
  partials_.erase(std::remove_if(partials_.begin(), partials_.end(), inside), partials_.end());
}

// Takes out all that is held under the aligned range of `width` replicas around `first`, and adds it up level
// by level; null when there is nothing.
std::shared_ptr<TensorBuffer> ReductionTree::TakeSumWithin(ReplicaId first, int64_t width) {
  const auto outside = [&](const Partial& partial) { return partial.node.first / width != first / width; };
  const auto begin = std::stable_partition(partials_.begin(), partials_.end(), outside);
  std::vector<Partial> taken(std::make_move_iterator(begin), std::make_move_iterator(partials_.end()));
  partials_.erase(begin, partials_.end());
  if (taken.empty()) return nullptr;
  // Where replicas are missing, more than one may be there.
  std::sort(taken.begin(), taken.end(),
            [](const Partial& a, const Partial& b) { return a.node.first < b.node.first; });
  for (int64_t pair = 2; taken.size() > 1; pair *= 2) {
    // Of a node of `pair` replicas at most two children are left, and they are neighbours.
    std::vector<Partial> level;
    for (Partial& partial : taken) {
      if (!level.empty() && level.back().node.first / pair == partial.node.first / pair) {
        AddTo(*partial.sum, *level.back().sum);
      } else {
        level.push_back(std::move(partial));
      }
    }
    taken = std::move(level);
  }
  return std::move(taken.front().sum);
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
