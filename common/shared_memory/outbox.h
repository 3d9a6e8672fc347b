// What a process sends by reference to its peers on this machine: one segment for all of them.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
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

  // Who may be reading what came over a link: a process that was verified, and the reader that it named
  // (SharedMemoryOffer::reader).
  struct Reader {
    std::shared_ptr<const PeerProcess> process;
    uint64_t id = 0;
  };

  // `link` is closed, and `reader` may still be reading `tensors`: their memory is not used anew before it
  // says so, or dies. A peer holds up at most what was sent to it and not yet consumed.
  void Withhold(const Reader& reader, uint64_t link, std::vector<std::shared_ptr<const void>> tensors);
  // Links for which something is withheld from `reader`.
  std::vector<uint64_t> LinksWithheldFrom(const Reader& reader) const;
  // `reader` has dropped all that came over `link`. Frees nothing that is withheld from others.
  void Release(const Reader& reader, uint64_t link);
  // Grows with each Withhold of anything: cheap to ask.
  uint64_t withholdings() const { return withholdings_; }
  // Releases what is withheld from peers that have died since.
  void ReleaseDead();
  // Tensors withheld.
  size_t withheld() const;

  // Counts tensor bytes that came or went by reference.
  void CountShared(uint64_t bytes) { shared_bytes_ += static_cast<int64_t>(bytes); }
  int64_t shared_bytes() const { return shared_bytes_; }

 private:
  struct Withheld {
    Reader reader;
    uint64_t link = 0;
    bool Is(const Reader& other) const {
      return reader.process->pid() == other.process->pid() && reader.id == other.id;
    }
    std::vector<std::shared_ptr<const void>> tensors;
  };

  explicit Outbox(std::shared_ptr<SharedSegment> segment);
  // Releases what `is_free` says.
  void ReleaseIf(const std::function<bool(const Withheld&)>& is_free);

  const std::shared_ptr<SharedSegment> segment_;
  std::atomic<int64_t> shared_bytes_{0};
  std::atomic<bool> any_withheld_{false};  // so that a step need not lock
  std::atomic<uint64_t> withholdings_{0};
  mutable Mutex mutex_;  // guards the list; tensors are released outside it
  std::vector<Withheld> withheld_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
