// How often a job is saved, as `checkpoint.every` says it.
#pragma once

#include <cstdint>

#include "config/job_spec.h"

namespace tessera {

// Steps between two checkpoints of an epoch of `steps_per_epoch` (> 0): a checkpoint is due at each multiple
// of it. 0: never, or by time. Saturates at the largest number.
int64_t CheckpointEverySteps(const JobSpec& job, int64_t steps_per_epoch);

}  // namespace tessera
