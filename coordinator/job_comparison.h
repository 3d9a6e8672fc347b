// Whether a job that is resumed is still the same mathematics.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace tessera {

// Both are canonical jobs (config/job_loader.h FormatJob). Who runs it and where may differ: job.name,
// cluster.* but for cluster.shard_bytes, checkpoint.*, device.threads. Errors: kFailedPrecondition, names the
// first key that differs, with both values; kDataLoss, `before` is no job.
absl::Status CheckSameMaths(const std::string& before, const std::string& now);

}  // namespace tessera
