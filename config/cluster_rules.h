// What does not go together in `cluster`, and with the rest of a job.
#pragma once

#include "absl/status/status.h"
#include "config/job_spec.h"
#include "config/yaml_node.h"

namespace tessera {

// `job` was read from `file`. Errors: kInvalidArgument, at `cluster.server_backups`: the job's servers can
// never hold so many copies of a shard, or its updates keep a state that backups do not have.
absl::Status CheckCluster(const YamlNode& file, const JobSpec& job);

}  // namespace tessera
