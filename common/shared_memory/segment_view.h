// A peer's segment, mapped here to be read.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/shared_memory/header.h"
#include "common/shared_memory/peer_process.h"

namespace tessera {

// Thread-safe. The mapping goes with the last reference.
class SegmentView {
 public:
  // Maps what `offer` names, if it is what it says: an open file of that process, made by SharedSegment,
  // owned by our user, of that size, sealed, and with the token in its head. A token fits only on the same
  // machine and in the same process, whatever host names and pids say. The offer may be a hostile peer's:
  // this neither blocks nor touches a file that is no segment. Errors: kUnavailable, it is not (another host,
  // container or user) or can not be reached.
  static absl::StatusOr<std::shared_ptr<const SegmentView>> Open(const SharedMemoryOffer& offer);
  ~SegmentView();

  // The tensor's bytes. The writer is another process: they are what it says only until it is told
  // "consumed". Errors: kInvalidArgument, not a tensor inside of the segment's tensors.
  absl::StatusOr<absl::Span<const uint8_t>> Find(const SharedTensorReference& tensor) const;

  const std::shared_ptr<const PeerProcess>& owner() const { return owner_; }

 private:
  SegmentView(const uint8_t* base, uint64_t bytes, std::shared_ptr<const PeerProcess> owner)
      : base_(base), bytes_(bytes), owner_(std::move(owner)) {}

  const uint8_t* const base_;
  const uint64_t bytes_;
  const std::shared_ptr<const PeerProcess> owner_;
};

}  // namespace tessera
