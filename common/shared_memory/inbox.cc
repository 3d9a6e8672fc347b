#include "common/shared_memory/inbox.h"

#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "common/status.h"

namespace tessera {

// Tensors are dropped in any order, and some are held for a whole step: each is told by itself.
// The link is in use while this is there.
class Inbox::Consumption {
 public:
  Consumption(std::shared_ptr<InboundLinks> links, int64_t pid, uint64_t link)
      : links_(std::move(links)), pid_(pid), link_(link) {
    links_->Add(pid_, link_);
  }
  ~Consumption() { links_->Remove(pid_, link_); }
  Consumption(const Consumption&) = delete;
  Consumption& operator=(const Consumption&) = delete;

  void Add(uint64_t sequence) {
    MutexLock lock(&mutex_);
    untold_.insert(sequence);
  }

  std::vector<SequenceRange> Take() {
    std::vector<SequenceRange> ranges;
    MutexLock lock(&mutex_);
    auto next = untold_.begin();
    for (; next != untold_.end(); ++next) {
      if (!ranges.empty() && *next == ranges.back().last + 1) {
        ranges.back().last = *next;
        continue;
      }
      if (ranges.size() == SharedMemoryHeader::kMostRanges) break;
      ranges.push_back({*next, *next});
    }
    untold_.erase(untold_.begin(), next);
    return ranges;
  }

 private:
  const std::shared_ptr<InboundLinks> links_;
  const int64_t pid_;
  const uint64_t link_;
  Mutex mutex_;  // a leaf: nothing is called under it
  std::set<uint64_t> untold_ ABSL_GUARDED_BY(mutex_);
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

Inbox::Inbox(std::shared_ptr<const SegmentView> view, std::shared_ptr<InboundLinks> links, uint64_t link)
    : view_(std::move(view)),
      consumption_(std::make_shared<Consumption>(std::move(links), peer()->pid(), link)) {}

absl::StatusOr<TensorBytes::Piece> Inbox::Take(const SharedTensorReference& tensor) {
  if (tensor.sequence != taken_ + 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor ", tensor.sequence, " in shared memory follows tensor ", taken_));
  }
  TESSERA_ASSIGN_OR_RETURN(const absl::Span<const uint8_t> bytes, view_->Find(tensor));
  ++taken_;
  return TensorBytes::Piece{std::make_shared<Tensor>(view_, consumption_, tensor.sequence), bytes,
                            /*lasting=*/true};
}

std::vector<SequenceRange> Inbox::TakeConsumed() { return consumption_->Take(); }

}  // namespace tessera
