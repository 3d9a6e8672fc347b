// Decides when a process that died is started again: at once, later, or no more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <random>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tessera::cli {

// Pure but for its random numbers, which spread the restarts of those that died together. Not thread-safe.
class RestartPolicy {
 public:
  static constexpr int kMostInAMinute = 5;  // restarts of one process
  static constexpr int kMostInAll = 50;
  static constexpr absl::Duration kFirstDelay = absl::Milliseconds(200);

  explicit RestartPolicy(uint64_t seed) : random_(seed) {}

  // When to start `process`, which died at `now`: at once the first time within a minute, then after half to
  // all of a delay that begins at kFirstDelay and doubles. Counts as a restart. Errors: kResourceExhausted,
  // it has been started again too often; says how often.
  absl::StatusOr<absl::Time> OnDeath(size_t process, absl::Time now);

 private:
  std::minstd_rand random_;
  std::map<size_t, std::vector<absl::Time>> recent_;  // by process, of the last minute
  int all_ = 0;
};

}  // namespace tessera::cli
