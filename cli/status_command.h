// `tessera status` and `tessera stop`: one question to a running job's coordinator.
#pragma once

#include <string>

#include "cli/console.h"

namespace tessera::cli {

// Prints nodes and progress of a running job, or how the run ended. `target` and `coordinator` as in
// target.h. Both return the exit code: 1 when nobody answers and no summary is there.
int ShowStatus(const std::string& target, const std::string& coordinator, const Console& console);

// Asks the job to end in order. A job that is over already is no error.
int StopJob(const std::string& target, const std::string& coordinator, const Console& console);

}  // namespace tessera::cli
