// `tessera checkpoint` and `tessera export`: takes, lists and checks checkpoints, and makes a model file of
// one. All return the exit code.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cli/console.h"

namespace tessera::cli {

inline constexpr char kDefaultCheckpointTimeout[] = "60s";

// Asks a running job for a checkpoint, waits until it is whole (at most `timeout`, "60s") and prints its
// folder. `target` and `coordinator` as in target.h.
int TakeCheckpoint(const std::string& target, const std::string& coordinator, const std::string& timeout,
                   const Console& console);

// A table of what `folder` (a run's, or its checkpoints') has, newest first. Parts are not looked at.
int ListCheckpointsOf(const std::string& folder, const Console& console);

// Reads `folder` (a checkpoint, a folder of them, or a run's) whole: one line for each checkpoint, an error
// for each that is damaged. 1 when one is, or when there is none.
int VerifyCheckpoints(const std::string& folder, const Console& console);

// Writes the model of `checkpoint` (a checkpoint's folder; or a folder of them or of a run: the newest that
// is whole) to `file`, as a run's model.safetensors is.
int ExportModel(const std::string& checkpoint, const std::string& file, const Console& console);

}  // namespace tessera::cli
