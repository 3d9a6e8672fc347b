// The `tessera` command: parses its arguments and runs what they ask for.
#pragma once

#include "cli/console.h"

namespace tessera::cli {

// Returns the exit code (exit_codes.h). Every error is one line on `console.err`. To be called from the main
// thread, before any other thread exists.
int RunCommandLine(int argc, const char* const* argv, const Console& console);

}  // namespace tessera::cli
