// What a message of the exchange says about shared memory, besides what it is about. Plain data: the
// transport's own, which nobody above it sees. proto/parameter_service.proto has the same fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace tessera {

// Where the tensors of a process are: what a peer needs to find the segment and to know it again.
struct SharedMemoryOffer {
  static constexpr size_t kTokenBytes = 16;

  int64_t pid = 0;     // whose file descriptor
  int32_t fd = -1;     // of the segment, in that process
  uint64_t bytes = 0;  // of the whole segment
  std::string token;   // kTokenBytes that only the segment's first page tells too
};

// A tensor in the sender's segment, in place of its bytes.
struct SharedTensorReference {
  uint64_t sequence = 0;  // 1, 2, 3, … in the order sent
  uint64_t offset = 0;    // from the segment's start
  uint64_t bytes = 0;
};

struct SharedMemoryHeader {
  std::optional<SharedMemoryOffer> offer;  // in a hello
  bool mapped = false;                     // the peer's offer has been taken: it may send references
  uint64_t consumed = 0;  // nobody here reads the peer's references up to this one any more; 0: as before
  std::optional<SharedTensorReference> tensor;
};

}  // namespace tessera
