// Whole files, with errors that name the path: reading at offsets, and writing that is all or nothing.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace tessera {

// A regular file, open for reading. Movable; closes itself. Safe from several threads.
class InputFile {
 public:
  // Errors: kNotFound, no such file; kInvalidArgument, not a regular file; kUnavailable, all else.
  static absl::StatusOr<InputFile> Open(const std::string& path);
  ~InputFile();
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }  // bytes, when it was opened

  // Fills `out` with the bytes from `offset` on.
  // Errors: kDataLoss, the file ends before; kUnavailable, the system cannot read it.
  absl::Status ReadAt(int64_t offset, absl::Span<uint8_t> out) const;

 private:
  InputFile(std::string path, int descriptor, int64_t size);
  std::string path_;
  int descriptor_;
  int64_t size_;
};

// Makes `path` hold `pieces`, one after another: a temporary beside it, fsync, rename, fsync of the folder.
// After an error, and at every moment before the end, the old file (or none) is there, and no temporary is
// left by an error.
// Errors: kResourceExhausted, the disk is full; kUnavailable, all else; both name the path.
absl::Status WriteFileAtomically(const std::string& path, absl::Span<const absl::Span<const uint8_t>> pieces);

}  // namespace tessera
