// What a message of the exchange says about shared memory, besides what it is about. Plain data: the
// transport's own, which nobody above it sees. proto/parameter_service.proto has the same fields.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tessera {

// Where the tensors of a process are: what a peer needs to find the segment and to know it again.
struct SharedMemoryOffer {
  static constexpr size_t kTokenBytes = 16;

  int64_t pid = 0;      // whose file descriptor
  int32_t fd = -1;      // of the segment, in that process
  uint64_t bytes = 0;   // of the whole segment
  std::string token;    // kTokenBytes that only the segment's first page tells too
  uint64_t link = 0;    // random: what the sender calls this link, until its last tensor has been dropped
  uint64_t reader = 0;  // InboundLinks::id of the sender, which knows what it still reads
};

// A tensor in the sender's segment, in place of its bytes.
struct SharedTensorReference {
  uint64_t sequence = 0;  // 1, 2, 3, … in the order sent
  uint64_t offset = 0;    // from the segment's start
  uint64_t bytes = 0;
};

// Sequence numbers of references, both ends included.
struct SequenceRange {
  uint64_t first = 0;
  uint64_t last = 0;
  friend bool operator==(const SequenceRange&, const SequenceRange&) = default;
};

struct SharedMemoryHeader {
  std::optional<SharedMemoryOffer> offer;  // in a hello
  bool mapped = false;                     // the peer's offer has been taken: it may send references
  // References of the peer's that nobody here reads any more, each told once, ascending. At most kMostRanges;
  // what is more goes with the next message.
  static constexpr size_t kMostRanges = 1024;
  std::vector<SequenceRange> consumed;
  std::optional<SharedTensorReference> tensor;
  // Links of the sender's to the same reader that are closed: does anybody there still read what came over
  // them? At most kMostLinks are asked about and not answered.
  static constexpr size_t kMostLinks = 256;
  std::vector<uint64_t> withheld_links;
  // Links that the peer asked about, of which nobody here reads anything any more; each is answered once.
  std::vector<uint64_t> released_links;
};

}  // namespace tessera
