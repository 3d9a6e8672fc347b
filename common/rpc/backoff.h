// Waits between tries of a call: exponential, jittered, bounded.
#pragma once

#include <random>
#include <thread>

#include "absl/time/time.h"

namespace tessera {

// The bound on the number of tries, or on their time, is the caller's. Not thread-safe.
class Backoff {
 public:
  Backoff(absl::Duration first, absl::Duration most)
      : next_(first), most_(most), random_(std::random_device{}()) {}

  // Waits between half and all of the present delay, then doubles it.
  void Wait() {
    std::uniform_real_distribution<double> part(0.5, 1.0);
    std::this_thread::sleep_for(absl::ToChronoNanoseconds(next_ * part(random_)));
    next_ = std::min(2 * next_, most_);
  }

 private:
  absl::Duration next_;
  const absl::Duration most_;
  std::minstd_rand random_;
};

}  // namespace tessera
