// Bytes as a file in a folder of its own, in memory where the system has that, for code that reads files.
#pragma once

#include <stdlib.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>

#include "absl/types/span.h"
#include "common/check.h"

namespace tessera {

// The folder goes with all that is in it.
class FuzzFile {
 public:
  FuzzFile(std::string name, absl::Span<const uint8_t> bytes) : name_(std::move(name)) {
    TESSERA_CHECK(mkdtemp(folder_.data()) != nullptr);
    std::ofstream file(path(), std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    TESSERA_CHECK(file.flush().good());
  }
  ~FuzzFile() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  FuzzFile(const FuzzFile&) = delete;
  FuzzFile& operator=(const FuzzFile&) = delete;

  const std::string& folder() const { return folder_; }
  const std::string& name() const { return name_; }
  std::string path() const { return folder_ + "/" + name_; }

 private:
  static std::string Template() {
    const bool memory = std::filesystem::is_directory("/dev/shm");
    return (memory ? "/dev/shm" : std::filesystem::temp_directory_path().string()) + "/tessera_fuzz.XXXXXX";
  }

  std::string folder_ = Template();
  const std::string name_;
};

}  // namespace tessera
