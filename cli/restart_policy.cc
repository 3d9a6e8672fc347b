#include "cli/restart_policy.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tessera::cli {

absl::StatusOr<absl::Time> RestartPolicy::OnDeath(size_t process, absl::Time now) {
  std::vector<absl::Time>& recent = recent_[process];
  recent.erase(std::remove_if(recent.begin(), recent.end(),
                              [now](absl::Time time) { return time <= now - absl::Minutes(1); }),
               recent.end());
  const int count = static_cast<int>(recent.size());
  if (count >= kMostInAMinute) {
    return absl::ResourceExhaustedError(absl::StrCat("started again ", count, " times within a minute"));
  }
  if (all_ >= kMostInAll) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the run's processes were started again ", all_, " times"));
  }
  ++all_;
  recent.push_back(now);
  if (count == 0) return now;
  std::uniform_real_distribution<double> part(0.5, 1.0);
  return now + kFirstDelay * (1 << (count - 1)) * part(random_);
}

}  // namespace tessera::cli
