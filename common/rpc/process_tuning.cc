#include "common/rpc/process_tuning.h"

#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "absl/synchronization/mutex.h"

namespace tessera {
namespace {

// The largest that glibc takes; larger blocks are mapped, and are few: whole layers, allocated once.
constexpr int kMmapThresholdBytes = 32 << 20;
// Of free memory at a heap's end. glibc's heaps of other threads than the first are 64 MiB each.
constexpr int kTrimThresholdBytes = 256 << 20;

constexpr uint64_t kShortestSliceNs = 100'000;  // the kernel takes 0.1 to 100 ms

// The kernel's struct sched_attr, as of its first version: <linux/sched/types.h> does not go with glibc's
// <sched.h>.
struct SchedulingAttributes {
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime_ns;  // the slice, for ordinary threads
  uint64_t deadline_ns;
  uint64_t period_ns;
};

}  // namespace

void TuneProcess() {
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

// By system call: glibc has had no wrapper before 2.41. A kernel that refuses leaves the thread as it is.
void AnswerPromptly() {
  SchedulingAttributes attributes = {};
  if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0) return;
  attributes.runtime_ns = kShortestSliceNs;
  (void)syscall(SYS_sched_setattr, 0, &attributes, 0);
}

}  // namespace tessera
