// What comes from one peer by reference: its segment, and which of its tensors are not read any more.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/shared_memory/header.h"
#include "common/shared_memory/inbound_links.h"
#include "common/shared_memory/segment_view.h"
#include "common/tensor_bytes.h"

namespace tessera {

// Not thread-safe; but the pieces that it gives may be dropped by any thread, also after it is gone.
class Inbox {
 public:
  // `links` has the link `link` of the segment's owner until this is gone and all that it gave is dropped.
  Inbox(std::shared_ptr<const SegmentView> view, std::shared_ptr<InboundLinks> links, uint64_t link);

  // The tensor in place; it may be held for long (TensorBytes::Piece::lasting). It counts as consumed when
  // the last copy of the piece is dropped. Errors: kInvalidArgument, those of SegmentView::Find; a sequence
  // number that is not the next.
  absl::StatusOr<TensorBytes::Piece> Take(const SharedTensorReference& tensor);

  // What has been consumed and was not told by a call before, as SharedMemoryHeader::consumed.
  std::vector<SequenceRange> TakeConsumed();

  const std::shared_ptr<const PeerProcess>& peer() const { return view_->owner(); }

 private:
  class Consumption;
  class Tensor;
  const std::shared_ptr<const SegmentView> view_;
  const std::shared_ptr<Consumption> consumption_;
  uint64_t taken_ = 0;
};

}  // namespace tessera
