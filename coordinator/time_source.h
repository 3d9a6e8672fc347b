// Where the coordinator gets the time from: injected, so that tests turn the clock.
#pragma once

#include <functional>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tessera {

using TimeSource = std::function<absl::Time()>;

// The wall clock of now, running on with the steady clock: setting the machine's date ends no lease.
// Thread-safe.
TimeSource SteadyTime();

}  // namespace tessera
