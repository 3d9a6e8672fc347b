// `tessera run`: a whole cluster on this machine, watched until its job is over.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/console.h"

namespace tessera::cli {

struct RunOptions {
  std::string program = "tessera";  // what this command is called by
  std::string job;
  std::optional<int> servers, workers;  // in place of the file's
  std::vector<std::string> settings;    // KEY=VALUE
  std::string summary_file;             // where a copy of the summary goes, or ""
  std::string trace_file;               // where the trace goes, or ""
  bool resume = false;                  // goes on with the earlier run of the job's name
  bool restart = true;                  // processes that die are started again
  std::string chaos;                    // a plan of faults, @FILE, "random", or ""
  uint64_t chaos_seed = 1;              // of lost messages and cut connections, and of a random plan
};

// Returns the exit code (exit_codes.h). To be called from the main thread, before any other thread exists.
// When it returns, no process that it started is left.
int RunJob(const RunOptions& options, const Console& console);

}  // namespace tessera::cli
