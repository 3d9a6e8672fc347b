#include "common/rpc/process_tuning.h"

#include <malloc.h>

#include "absl/synchronization/mutex.h"

namespace tessera {
namespace {

// The largest that glibc takes; larger blocks are mapped, and are few: whole layers, allocated once.
constexpr int kMmapThresholdBytes = 32 << 20;
// Of free memory at a heap's end. glibc's heaps of other threads than the first are 64 MiB each.
constexpr int kTrimThresholdBytes = 256 << 20;

}  // namespace

void TuneProcess() {
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace tessera
