// Reads a job file, strictly: an unknown or duplicate key, a wrong type, a value out of range is one error
// with file, line, column, and the nearest right key: `bad.yaml:12:3: unknown key `bach_size`; did you mean
// `batch_size`?`.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "config/job_spec.h"

namespace tessera {

// `train.epochs=1` from the command line; the value is YAML.
struct Override {
  std::string key;
  std::string value;
};

// Errors: kInvalidArgument, no `=` or an empty key.
absl::StatusOr<Override> ParseOverride(const std::string& text);

// Reads `path` and applies `overrides` in order (each checked like the file; its position is `--set
// train.epochs`). `train.replicas` defaults to the *file's* cluster.workers, so that overriding workers does
// not change the maths. An override of `train.consistency.mode` that names another mode than the file leaves
// out what belongs to the file's (config/consistency_rules.h). Errors: kNotFound, no such file;
// kInvalidArgument, all else.
absl::StatusOr<JobSpec> LoadJobFile(const std::string& path, const std::vector<Override>& overrides);

// As LoadJobFile, from text; `name` stands for the file in messages.
absl::StatusOr<JobSpec> LoadJobText(const std::string& text, const std::string& name,
                                    const std::vector<Override>& overrides);

// The job as canonical YAML with every field set. LoadJobText of it gives the same job: this is how nodes get
// the job from the coordinator, and what `tessera config show` prints.
std::string FormatJob(const JobSpec& job);

// Reference of every key: type, default, range, meaning (Markdown). Printed by `tessera config reference`.
std::string FormatReference();

}  // namespace tessera
