// `--set train.epochs=1`: changes to a job file's tree before it is read.
#pragma once

#include "absl/status/status.h"
#include "config/job_loader.h"
#include "config/yaml_node.h"

namespace tessera {

// Puts the value in the place of its key, with the maps on the way there where they lack; a map replaces a
// whole map. Whether the key exists and the value fits is checked when the job is read. All that is new
// stands at `--set KEY`. Errors: kInvalidArgument at that position: not a path of keys, a value that is not
// YAML, no map on the way.
absl::Status ApplyOverride(const Override& change, YamlNode& file);

}  // namespace tessera
