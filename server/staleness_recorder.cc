#include "server/staleness_recorder.h"

#include <algorithm>

namespace tessera {

StalenessRecorder::StalenessRecorder() { stats_.histogram.resize(StalenessStats::kBuckets); }

void StalenessRecorder::Record(absl::Span<const int64_t> round, int64_t clock_lead) {
  MutexLock lock(&mutex_);
  stats_.clock_lead_max = std::max(stats_.clock_lead_max, clock_lead);
  for (const int64_t staleness : round) {
    ++stats_.pushes;
    stats_.sum += staleness;
    stats_.max = std::max(stats_.max, staleness);
    ++stats_.histogram[std::min(staleness, StalenessStats::kBuckets - 1)];
  }
}

StalenessStats StalenessRecorder::stats() const {
  MutexLock lock(&mutex_);
  return stats_;
}

}  // namespace tessera
