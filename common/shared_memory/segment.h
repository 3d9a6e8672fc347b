// Memory for tensors that other processes of this machine may map: an anonymous file that is gone with its
// last user. Tensors are written here once, where the consumer will read them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/file_descriptor.h"
#include "common/mutex.h"
#include "common/shared_memory/header.h"
#include "common/tensor_buffer.h"

namespace tessera {

// What a segment begins with; tensors lie behind its page.
struct SegmentHead {
  char token[SharedMemoryOffer::kTokenBytes];
};
inline constexpr size_t kSegmentHeadBytes = 4096;
inline constexpr char kSegmentName[] = "tessera-outbox";

// The owner's view. All of its memory is there from the start (writing can not fail later), its size is fixed
// for good, and only this mapping can ever write: the kernel keeps that (file seals). Thread-safe.
class SharedSegment : public TensorMemory {
 public:
  // With room for `tensor_bytes` of tensors. Errors: kUnavailable, the system does not give it, or it
  // would be more than half of the memory that is left (AvailableMemory).
  static absl::StatusOr<std::shared_ptr<SharedSegment>> Create(size_t tensor_bytes);
  ~SharedSegment() override;

  // The lowest free range that is long enough: few pages stay in use, and in the caches.
  float* Allocate(size_t length) override;
  void Free(float* floats, size_t length) override;

  // How a peer finds it.
  const SharedMemoryOffer& offer() const { return offer_; }
  // Where `bytes` lie in the segment; nothing if they do not, or not wholly.
  std::optional<uint64_t> OffsetOf(absl::Span<const uint8_t> bytes) const;
  // Allocations that found no room.
  int64_t refused() const;

 private:
  SharedSegment(FileDescriptor file, std::byte* base, SharedMemoryOffer offer);

  const FileDescriptor file_;
  std::byte* const base_;
  const SharedMemoryOffer offer_;
  mutable Mutex mutex_;
  std::map<size_t, size_t> free_ ABSL_GUARDED_BY(mutex_);  // offset to length; no two touch
  int64_t refused_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tessera
