// What comes from one peer by reference: its segment, and how far its tensors have been read.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/shared_memory/header.h"
#include "common/shared_memory/segment_view.h"
#include "common/tensor_bytes.h"

namespace tessera {

// Not thread-safe; but the pieces that it gives may be dropped by any thread, also after it is gone.
class Inbox {
 public:
  explicit Inbox(std::shared_ptr<const SegmentView> view);

  // The tensor in place. It counts as consumed when the last copy of the piece is dropped.
  // Errors: kInvalidArgument, those of SegmentView::Find; a sequence number that is not the next.
  absl::StatusOr<TensorBytes::Piece> Take(const SharedTensorReference& tensor);

  // Every tensor up to this one has been consumed, if that is news since the last call; else 0.
  uint64_t TakeConsumed();

  const std::shared_ptr<const PeerProcess>& peer() const { return view_->owner(); }

 private:
  class Consumption;
  class Tensor;
  const std::shared_ptr<const SegmentView> view_;
  const std::shared_ptr<Consumption> consumption_;
  uint64_t taken_ = 0;
  uint64_t told_ = 0;
};

}  // namespace tessera
