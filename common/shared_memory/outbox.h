// What a process sends by reference to its peers on this machine: one segment for all of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/mutex.h"
#include "common/shared_memory/peer_process.h"
#include "common/shared_memory/segment.h"

namespace tessera {

// Thread-safe.
class Outbox {
 public:
  // With room for `tensor_bytes` of tensors. Errors: those of SharedSegment::Create.
  static absl::StatusOr<std::shared_ptr<Outbox>> Create(size_t tensor_bytes);

  const std::shared_ptr<SharedSegment>& segment() const { return segment_; }

  // A connection to `peer` is over, and it may still be reading `tensors`: their memory is not used anew
  // while it lives. A peer holds up at most what was sent to it and not yet consumed.
  void Withhold(std::shared_ptr<const PeerProcess> peer, std::vector<std::shared_ptr<const void>> tensors);
  // Releases what is withheld from peers that have died since.
  void ReleaseDead();
  // Tensors withheld.
  size_t withheld() const;

  // Counts tensor bytes that came or went by reference.
  void CountShared(uint64_t bytes) { shared_bytes_ += static_cast<int64_t>(bytes); }
  int64_t shared_bytes() const { return shared_bytes_; }

 private:
  struct Withheld {
    std::shared_ptr<const PeerProcess> peer;
    std::vector<std::shared_ptr<const void>> tensors;
  };

  explicit Outbox(std::shared_ptr<SharedSegment> segment);

  const std::shared_ptr<SharedSegment> segment_;
  std::atomic<int64_t> shared_bytes_{0};
  std::atomic<bool> any_withheld_{false};  // so that a step need not lock
  mutable Mutex mutex_;                    // guards the list; tensors are released outside it
  std::vector<Withheld> withheld_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
