// Bytes as a file that has a path and takes no disk, for code that reads files.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "common/check.h"
#include "common/file_descriptor.h"

namespace tessera {

class FileInMemory {
 public:
  explicit FileInMemory(absl::Span<const uint8_t> bytes) : fd_(memfd_create("fuzz", MFD_CLOEXEC)) {
    TESSERA_CHECK(fd_.valid());
    TESSERA_CHECK(write(fd_.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }

  std::string path() const { return absl::StrCat("/proc/self/fd/", fd_.get()); }

 private:
  FileDescriptor fd_;
};

}  // namespace tessera
