#include "common/shared_memory/available_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

// A machine with 1 GiB left, and the control groups that a test gives it.
class Machine {
 public:
  Machine() { Write("proc/meminfo", "MemTotal:  4194304 kB\nMemFree: 1 kB\nMemAvailable:    1048576 kB\n"); }
  void Write(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(folder_.File(path)).parent_path());
    std::ofstream(folder_.File(path)) << text;
  }
  void Limit(const std::string& group, const std::string& limit, uint64_t usage) {
    Write("sys/fs/cgroup/" + group + "memory.max", limit + "\n");
    Write("sys/fs/cgroup/" + group + "memory.current", std::to_string(usage) + "\n");
  }
  uint64_t Available() const { return AvailableMemory(folder_.path() + "/"); }

 private:
  const TemporaryFolder folder_;
};

TEST(AvailableMemory, IsTheMachinesWithoutALimit) {
  Machine machine;
  EXPECT_EQ(machine.Available(), 1024 * kMiB);
  machine.Write("proc/self/cgroup", "0::/\n");
  EXPECT_EQ(machine.Available(), 1024 * kMiB);
}

TEST(AvailableMemory, IsWhatTheTightestGroupAboveHasLeft) {
  Machine machine;
  machine.Write("proc/self/cgroup", "1:cpu:/x\n0::/slice/service\n");
  machine.Limit("slice/service/", "max", 10 * kMiB);
  EXPECT_EQ(machine.Available(), 1024 * kMiB);
  machine.Limit("slice/", std::to_string(100 * kMiB), 30 * kMiB);
  EXPECT_EQ(machine.Available(), 70 * kMiB);
  machine.Limit("slice/service/", std::to_string(20 * kMiB), 30 * kMiB);
  EXPECT_EQ(machine.Available(), 0u) << "above its limit";
}

TEST(AvailableMemory, KnowsAContainersOwnGroupByItsMount) {
  Machine machine;
  machine.Write("proc/self/cgroup", "0::/of/the/host\n");
  machine.Limit("", std::to_string(50 * kMiB), 0);
  EXPECT_EQ(machine.Available(), 50 * kMiB);
}

TEST(AvailableMemory, KnowsControlGroupsOfVersionOne) {
  Machine machine;
  machine.Write("proc/self/cgroup", "4:hugetlb,memory:/a\n0::/\n");
  machine.Write("sys/fs/cgroup/memory/a/memory.limit_in_bytes", "8388608\n");
  machine.Write("sys/fs/cgroup/memory/a/memory.usage_in_bytes", "1048576\n");
  EXPECT_EQ(machine.Available(), 7 * kMiB);
}

// Whoever has read a large data set has a group full of its pages.
TEST(AvailableMemory, PagesOfFilesThatTheKernelWouldDropAreLeft) {
  Machine machine;
  machine.Write("proc/self/cgroup", "0::/a\n");
  machine.Limit("a/", std::to_string(100 * kMiB), 100 * kMiB);
  EXPECT_EQ(machine.Available(), 0u);
  machine.Write("sys/fs/cgroup/a/memory.stat",
                "anon 31457280\ninactive_file 62914560\nactive_file 10485760\n");
  EXPECT_EQ(machine.Available(), 60 * kMiB);
  machine.Write("sys/fs/cgroup/a/memory.stat", "inactive_file 999999999999\n");
  EXPECT_EQ(machine.Available(), 100 * kMiB) << "never more than the limit";
  machine.Write("proc/self/cgroup", "4:memory:/b\n");
  machine.Write("sys/fs/cgroup/memory/b/memory.limit_in_bytes", "8388608\n");
  machine.Write("sys/fs/cgroup/memory/b/memory.usage_in_bytes", "8388608\n");
  machine.Write("sys/fs/cgroup/memory/b/memory.stat", "inactive_file 0\ntotal_inactive_file 5242880\n");
  EXPECT_EQ(machine.Available(), 5 * kMiB);
}

TEST(AvailableMemory, IsNothingWhereNothingTells) {
  const TemporaryFolder empty;
  EXPECT_EQ(AvailableMemory(empty.path() + "/"), 0u);
}

}  // namespace
}  // namespace tessera
