// From the tree of a job file to the job, by the schema.
#pragma once

#include "absl/status/statusor.h"
#include "config/job_spec.h"
#include "config/schema.h"
#include "config/yaml_node.h"

namespace tessera {

// What the tree does not hold is as JobSpec{} has it; train.replicas and the group stay 0 then.
// Errors: kInvalidArgument, one line with position: the first thing that is wrong in the order of the file,
// then what is missing, then what does not go together.
absl::StatusOr<JobSpec> ReadJob(const YamlNode& file);

// A single value where `section` has a short form becomes the map that it stands for.
YamlNode ExpandShortForm(const Section& section, const YamlNode& value);

}  // namespace tessera
