#include "coordinator/time_source.h"

#include <chrono>

namespace tessera {

TimeSource SteadyTime() {
  using std::chrono::steady_clock;
  return [wall = absl::Now(), start = steady_clock::now()] {
    return wall + absl::FromChrono(steady_clock::now() - start);
  };
}

}  // namespace tessera
