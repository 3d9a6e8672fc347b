// `tessera config`: what a job file means, without running it.
#pragma once

#include <string>
#include <vector>

#include "cli/console.h"

namespace tessera::cli {

// Checks everything that can be checked without a cluster, data sets and shapes included, and says what would
// run. Each returns the exit code: 2 for a wrong file.
int CheckConfig(const std::string& job, const std::vector<std::string>& settings, const Console& console);

// Prints the job with every field set, `settings` applied.
int ShowConfig(const std::string& job, const std::vector<std::string>& settings, const Console& console);

// Prints the manual of every key.
int ShowConfigReference(const Console& console);

}  // namespace tessera::cli
