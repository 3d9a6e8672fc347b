// Counts how stale the applied pushes of a server were. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/mutex.h"

namespace tessera {

struct StalenessStats {
  static constexpr int64_t kBuckets = 1024;

  int64_t pushes = 0;  // replica pushes applied
  int64_t sum = 0;
  int64_t max = 0;
  int64_t clock_lead_max = 0;  // of an applied push: minibatches ahead of the slowest group
  std::vector<int64_t>
      histogram;  // [s] = applied pushes of staleness s; the last bucket (1023) takes all above
};

class StalenessRecorder {
 public:
  StalenessRecorder();
  // One applied round: the staleness of each of its replica pushes, in versions, >= 0; how far its clock was
  // ahead of the slowest group's just before.
  void Record(absl::Span<const int64_t> round, int64_t clock_lead);
  StalenessStats stats() const;

 private:
  mutable Mutex mutex_;  // innermost: taken under a shard's lock, for a few additions
  StalenessStats stats_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
