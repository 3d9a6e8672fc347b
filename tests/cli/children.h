// Child processes for the tests of what starts and watches them.
#pragma once

#include <poll.h>

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "cli/process.h"
#include "gtest/gtest.h"

namespace tessera::cli {

// `script`, run by the shell.
inline ProcessOptions Shell(const std::string& script, const std::string& log_path = "/dev/null") {
  return {.name = "child", .executable = "/bin/sh", .arguments = {"-c", script}, .log_path = log_path};
}

inline std::string Contents(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// Whether `pidfd`'s process ends; gives up after half a minute.
inline bool Ends(int pidfd) {
  pollfd fd = {.fd = pidfd, .events = POLLIN, .revents = 0};
  return poll(&fd, 1, 30'000) == 1;
}

inline ProcessExit AwaitExit(Process* process) {
  EXPECT_TRUE(Ends(process->pidfd()));
  return process->TryWait().value_or(ProcessExit{.code = -1});
}

}  // namespace tessera::cli
