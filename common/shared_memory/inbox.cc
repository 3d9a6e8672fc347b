#include "common/shared_memory/inbox.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status.h"

namespace tessera {

// Tensors are dropped in any order; the peer is told how far all have been.
class Inbox::Consumption {
 public:
  void Add(uint64_t sequence) {
    MutexLock lock(&mutex_);
    ahead_.insert(sequence);
    while (!ahead_.empty() && *ahead_.begin() == through_ + 1) {
      ahead_.erase(ahead_.begin());
      ++through_;
    }
  }

  uint64_t through() const {
    MutexLock lock(&mutex_);
    return through_;
  }

 private:
  mutable Mutex mutex_;  // a leaf: nothing is called under it
  uint64_t through_ ABSL_GUARDED_BY(mutex_) = 0;
  std::set<uint64_t> ahead_ ABSL_GUARDED_BY(mutex_);  // consumed while one before is not
};

// Keeps the mapping while somebody reads; then it is consumed.
class Inbox::Tensor {
 public:
  Tensor(std::shared_ptr<const SegmentView> view, std::shared_ptr<Consumption> consumption, uint64_t sequence)
      : view_(std::move(view)), consumption_(std::move(consumption)), sequence_(sequence) {}
  ~Tensor() { consumption_->Add(sequence_); }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;

 private:
  const std::shared_ptr<const SegmentView> view_;
  const std::shared_ptr<Consumption> consumption_;
  const uint64_t sequence_;
};

Inbox::Inbox(std::shared_ptr<const SegmentView> view)
    : view_(std::move(view)), consumption_(std::make_shared<Consumption>()) {}

absl::StatusOr<TensorBytes::Piece> Inbox::Take(const SharedTensorReference& tensor) {
  if (tensor.sequence != taken_ + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", tensor.sequence, " in shared memory follows tensor ", taken_));
  }
  TESSERA_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, view_->Find(tensor));
  ++taken_;
  return TensorBytes::Piece{std::make_shared<Tensor>(view_, consumption_, tensor.sequence), bytes};
}

uint64_t Inbox::TakeConsumed() {
  const uint64_t through = consumption_->through();
  return through == std::exchange(told_, through) ? 0 : through;
}

}  // namespace tessera
