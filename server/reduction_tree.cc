#include "server/reduction_tree.h"

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <utility>

#include "common/check.h"

namespace tessera {
namespace {

constexpr size_t kPiece = 2048;  // floats that are added at a time, where two tensors make a third

void Add(absl::Span<const float> values, TensorBuffer& to) {
  const float* __restrict from = values.data();
  float* __restrict out = to.data();
  const size_t length = to.size();
  for (size_t i = 0; i < length; ++i) out[i] += from[i];
}

// The floats of `sum`, if they lie in one place and may be held there.
std::optional<HeldValues> InPlace(const TensorBytes& sum) {
  if (sum.pieces().size() != 1) return std::nullopt;
  const TensorBytes::Piece& piece = sum.pieces().front();
  const bool aligned = reinterpret_cast<uintptr_t>(piece.bytes.data()) % alignof(float) == 0;
  if (!piece.lasting || !aligned) return std::nullopt;
  const auto* values = reinterpret_cast<const float*>(piece.bytes.data());
  return HeldValues{piece.owner, {values, piece.bytes.size() / sizeof(float)}};
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
  std::optional<Partial> total;
  for (auto sibling = tree_.Sibling(node); sibling.has_value(); sibling = tree_.Sibling(node)) {
    std::optional<Partial> other = Take(*sibling);
    if (!other.has_value()) break;
    total = total.has_value() ? Sum(*std::move(total), *std::move(other)) : Sum(sum, *std::move(other));
    node = Parent(node, *sibling);
  }
  if (!total.has_value()) total = Hold(node, sum);
  total->node = node;
  partials_.push_back(*std::move(total));
}

RoundSum ReductionTree::Complete(ReplicaRange node, const TensorBytes& sum) {
  TESSERA_CHECK(tree_.IsNode(node));
  EraseInside(node);
  std::vector<HeldValues> partials;
  for (int64_t width = 2; !partials_.empty(); width *= 2) {
    // All that is held under the ancestor of this width and was not under the one below: the sibling of that.
    std::optional<Partial> sibling = TakeSumWithin(node.first, width);
    if (sibling.has_value()) partials.push_back(std::move(sibling->sum));
  }
  return RoundSum(sum, std::move(partials));
}

ReductionTree::Partial ReductionTree::InBuffer(ReplicaRange node,
                                               std::shared_ptr<TensorBuffer> buffer) const {
  const absl::Span<const float> values = buffer->span();
  return {node, {buffer, values}, buffer};
}

ReductionTree::Partial ReductionTree::Hold(ReplicaRange node, const TensorBytes& sum) {
  if (std::optional<HeldValues> held = InPlace(sum)) return {node, *std::move(held), nullptr};
  std::shared_ptr<TensorBuffer> buffer = pool_->Take(length_);
  sum.CopyTo(buffer->span());
  copied_bytes_ += static_cast<int64_t>(sum.size_bytes());
  return InBuffer(node, std::move(buffer));
}

ReductionTree::Partial ReductionTree::Sum(const TensorBytes& sum, Partial sibling) {
  if (sibling.buffer != nullptr) {
    sum.AddTo(sibling.buffer->span());
    return sibling;
  }
  std::shared_ptr<TensorBuffer> buffer = pool_->Take(length_);
  RoundSum both(sum, {std::move(sibling.sum)});
  for (size_t done = 0; done < length_; done += kPiece) both.ReadNext(buffer->span().subspan(done, kPiece));
  return InBuffer(sibling.node, std::move(buffer));
}

ReductionTree::Partial ReductionTree::Sum(Partial a, Partial b) {
  if (a.buffer == nullptr) std::swap(a, b);
  if (a.buffer == nullptr) {
    std::shared_ptr<TensorBuffer> buffer = pool_->Take(length_);
    std::copy(a.sum.values.begin(), a.sum.values.end(), buffer->data());
    copied_bytes_ += static_cast<int64_t>(length_ * sizeof(float));
    a = InBuffer(a.node, std::move(buffer));
  }
  tessera::Add(b.sum.values, *a.buffer);
  return a;
}

void ReductionTree::EraseInside(ReplicaRange node) {
  const auto inside = [node](const Partial& partial) { return node.Contains(partial.node); };
  partials_.erase(std::remove_if(partials_.begin(), partials_.end(), inside), partials_.end());
}

// Takes out all that is held under the aligned range of `width` replicas around `first`, and adds it up level
// by level; nothing when there is nothing.
std::optional<ReductionTree::Partial> ReductionTree::TakeSumWithin(ReplicaId first, int64_t width) {
  const auto outside = [&](const Partial& partial) { return partial.node.first / width != first / width; };
  const auto begin = std::stable_partition(partials_.begin(), partials_.end(), outside);
  std::vector<Partial> taken(std::make_move_iterator(begin), std::make_move_iterator(partials_.end()));
  partials_.erase(begin, partials_.end());
  if (taken.empty()) return std::nullopt;
  // Where replicas are missing, more than one may be there.
  std::sort(taken.begin(), taken.end(),
            [](const Partial& a, const Partial& b) { return a.node.first < b.node.first; });
  for (int64_t pair = 2; taken.size() > 1; pair *= 2) {
    // Of a node of `pair` replicas at most two children are left, and they are neighbours.
    std::vector<Partial> level;
    for (Partial& partial : taken) {
      if (!level.empty() && level.back().node.first / pair == partial.node.first / pair) {
        level.back() = Sum(std::move(level.back()), std::move(partial));
      } else {
        level.push_back(std::move(partial));
      }
    }
    taken = std::move(level);
  }
  return std::move(taken.front());
}

// What is held for exactly `node`, no longer held; nothing if there is none.
std::optional<ReductionTree::Partial> ReductionTree::Take(ReplicaRange node) {
  const auto found = std::find_if(partials_.begin(), partials_.end(),
                                  [node](const Partial& partial) { return partial.node == node; });
  if (found == partials_.end()) return std::nullopt;
  std::optional<Partial> taken = std::move(*found);
  partials_.erase(found);
  return taken;
}

}  // namespace tessera
