// Which job `tessera status` and `tessera stop` mean.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace tessera::cli {

struct Target {
  std::string address;  // host:port of the coordinator
  std::string folder;   // of the run, or "" when only an address is known
  std::string job;      // the name that the job there must have, or "" for any
};

// `target`: a run folder; or a job file, whose run is runs/<name> if that is there, or else whatever answers
// at the file's `cluster.coordinator` and has the same name. `coordinator` (HOST:PORT), when not empty,
// stands for itself; then `target` is empty. Errors: kInvalidArgument, neither or both, a folder of no run;
// those of LoadJobFile.
absl::StatusOr<Target> ResolveTarget(const std::string& target, const std::string& coordinator);

}  // namespace tessera::cli
