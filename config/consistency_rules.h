// What the modes of `train.consistency` stand for, and what does not go together in them; DESIGN.md
// section 4.
//
//   mode     group         staleness                    drop_stragglers  staleness_correction
//   sync     all replicas  0                            yes              none
//   async    1             unbounded                    no               none, scale, delay_compensated
//   ssp      1             a number, 3 unless given     no               none, scale, delay_compensated
//   grouped  to be given   unbounded unless given       no               none, scale; in groups of 1 all
#pragma once

#include <string>

#include "absl/status/status.h"
#include "config/job_spec.h"
#include "config/yaml_node.h"

namespace tessera {

// Gives `job`, which was read from `file` and has its replicas, what its mode stands for: `group` and
// `staleness`, `deterministic` (sync without drop_stragglers) and `clip_norm` (1 where gradients are stale, docs/adr/0007),
// each unless the file has it.
// Errors: kInvalidArgument, at the key that does not go with the mode or with another key, and what to do.
absl::Status ResolveConsistency(const YamlNode& file, JobSpec& job);

// The mode that `file` asks for, by its own name: grouped, where it says mixed. Not checked.
std::string ModeOf(const YamlNode& file);

// Takes out of `file`, whose mode is about to become `mode`, what belongs to the mode that it has: group,
// staleness and drop_stragglers, corrections that `mode` does not take, `deterministic: true` unless it
// becomes sync, and a `clip_norm` that is only what the file's mode stands for. So a job changes its mode by that one key.
void LeaveOwnMode(const std::string& mode, YamlNode& file);

}  // namespace tessera
