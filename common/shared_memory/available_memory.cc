#include "common/shared_memory/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace tessera {
namespace {

constexpr uint64_t kUnknown = std::numeric_limits<uint64_t>::max();

// How a version of control groups tells a group's limit and use, and how much of that are files' pages that
// nobody has used of late: those the kernel drops before it refuses anybody memory.
struct GroupFiles {
  const char* mount;
  const char* limit;
  const char* usage;
  const char* droppable;  // a key of memory.stat
};
constexpr GroupFiles kVersion1{"sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
                               "total_inactive_file"};
constexpr GroupFiles kVersion2{"sys/fs/cgroup", "memory.max", "memory.current", "inactive_file"};

// The number that a file holds; nothing if there is none ("max").
std::optional<uint64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  uint64_t number = 0;
  if (!(file >> text) || !absl::SimpleAtoi(text, &number)) return std::nullopt;
  return number;
}

// The number behind `key` in a file with one pair a line; 0 if there is none.
uint64_t ReadKey(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string name;
  uint64_t number = 0;
  while (file >> name >> number) {
    if (name == key) return number;
  }
  return 0;
}

uint64_t LeftOfMachine(const std::string& root) {
  std::ifstream file(root + "proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    uint64_t kib = 0;
    if (words.size() >= 2 && words[0] == "MemAvailable:" && absl::SimpleAtoi(words[1], &kib))
      return kib * 1024;
  }
  return kUnknown;
}

// Of the group at `path` ("/a/b") and all above it. In a container the path may be the host's: then its last
// known ancestor, the mount, is the container's own group.
uint64_t LeftOfGroups(const std::string& root, const GroupFiles& files, std::string path) {
  uint64_t left = kUnknown;
  while (true) {
    const std::string folder = absl::StrCat(root, files.mount, path == "/" ? "" : path, "/");
    const std::optional<uint64_t> limit = ReadNumber(folder + files.limit);
    const std::optional<uint64_t> usage = ReadNumber(folder + files.usage);
    if (limit.has_value() && usage.has_value()) {
      const uint64_t used = *usage - std::min(*usage, ReadKey(folder + "memory.stat", files.droppable));
      left = std::min(left, *limit - std::min(*limit, used));
    }
    if (path.empty() || path == "/") return left;
    path.resize(path.rfind('/'));
  }
}

uint64_t LeftOfControlGroups(const std::string& root) {
  uint64_t left = kUnknown;
  std::ifstream file(root + "proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {  // "4:memory:/path", "0::/path"
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() != 3 || !absl::StartsWith(parts[2], "/")) continue;
    const std::vector<std::string> controllers = absl::StrSplit(parts[1], ',');
    if (parts[1].empty()) left = std::min(left, LeftOfGroups(root, kVersion2, parts[2]));
    if (std::find(controllers.begin(), controllers.end(), "memory") != controllers.end()) {
      left = std::min(left, LeftOfGroups(root, kVersion1, parts[2]));
    }
  }
  return left;
}

}  // namespace

uint64_t AvailableMemory(const std::string& root) {
  const uint64_t left = std::min(LeftOfMachine(root), LeftOfControlGroups(root));
  return left == kUnknown ? 0 : left;
}

}  // namespace tessera
