// The bytes of a file in order, decompressed where it is gzip. Not thread-safe.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tessera {

class ByteReader {
 public:
  // Errors, naming `path`: kNotFound; kInvalidArgument, not a regular file; kUnavailable, all else.
  static absl::StatusOr<ByteReader> Open(const std::string& path);

  // Fills `out` and returns its size, or the number of bytes that there were before the end.
  // Errors: kDataLoss, damaged compression.
  absl::StatusOr<size_t> Read(absl::Span<uint8_t> out);

  // Exactly `count` bytes, which follow `before` others. Memory is taken for what is there, whatever a header
  // claims. Errors: kDataLoss, damaged compression, or truncated (says how many bytes of how many).
  absl::StatusOr<std::vector<uint8_t>> ReadValues(uint64_t count, uint64_t before);

  // At the end of what is wanted: there is nothing more, and the compressed form is complete.
  // Errors: kDataLoss, "trailing bytes after `wanted`", or the compressed form lacks its end, and so its
  // checksum.
  absl::Status CheckEnd(const std::string& wanted);

 private:
  struct Close {
    void operator()(gzFile file) const { gzclose(file); }
  };

  explicit ByteReader(gzFile file) : file_(file) {}
  absl::Status Damaged();

  std::unique_ptr<gzFile_s, Close> file_;
};

// kDataLoss: "truncated: 7 of 16 bytes".
absl::Status Truncated(uint64_t got, uint64_t expected);

}  // namespace tessera
