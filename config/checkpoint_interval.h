// How often a job is saved, as `checkpoint.every` says it.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "config/job_spec.h"
#include "config/yaml_node.h"

namespace tessera {

// Steps between two checkpoints of a job whose epochs have `steps_per_epoch` (> 0) steps: one is due at each
// multiple of it. 0: never, or by time. Saturates at the largest number.
int64_t CheckpointEverySteps(const JobSpec& job, int64_t steps_per_epoch);

// "2 epochs", "100 steps", "30s" or "never", into the unit and its amount.
// Errors: kInvalidArgument, at the value, with `path`.
absl::Status ReadCheckpointInterval(const std::string& path, const YamlNode& value,
                                    CheckpointSpec& checkpoint);

// What ReadCheckpointInterval reads as the same.
std::string FormatCheckpointInterval(const CheckpointSpec& checkpoint);

// For the manual.
std::string CheckpointIntervalRange();

}  // namespace tessera
