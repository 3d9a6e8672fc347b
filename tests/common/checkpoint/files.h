// Whole files of tests: read, written, damaged.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>

#include "gtest/gtest.h"

namespace tessera {

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << text;
}

inline void FlipBit(const std::string& path, size_t byte) {
  std::string text = ReadText(path);
  ASSERT_LT(byte, text.size());
  text[byte] = static_cast<char>(text[byte] ^ 0x10);
  WriteText(path, text);
}

inline int64_t FilesIn(const std::string& folder) {
  const std::filesystem::directory_iterator files(folder);
  return std::distance(begin(files), end(files));
}

// Runs `action` while no file of this process may grow beyond `bytes`: as on a full disk, writes fail
// halfway.
inline void WithFullDisk(rlim_t bytes, const std::function<void()>& action) {
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit limited{bytes, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &limited), 0);
  action();
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
}

}  // namespace tessera
