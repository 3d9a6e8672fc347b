// What the command's exit status says.
#pragma once

#include "absl/status/status.h"

namespace tessera::cli {

inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed =
    1;  // the job, or the thing asked for, failed, or was stopped before its end
inline constexpr int kExitUsage = 2;         // the command line, or a file that it names, is wrong
inline constexpr int kExitSignalBase = 128;  // + the signal that ended us: 130 Ctrl-C, 143 SIGTERM

}  // namespace tessera::cli
