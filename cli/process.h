// A child process that cannot outlive its parent: the kernel kills it (SIGKILL) when the thread that spawned
// it ends.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera::cli {

struct ProcessOptions {
  std::string name;                    // for messages: "server 1"
  std::string executable;              // path; PATH is not searched
  std::vector<std::string> arguments;  // without argv[0]
  std::string log_path;                // stdout and stderr are appended to it
};

// How a process ended.
struct ProcessExit {
  bool signaled = false;
  int code = 0;  // exit status, or the signal's number

  bool clean() const { return !signaled && code == 0; }
  // It took SIGTERM or SIGINT, and ended in order: whoever sent that wants it gone.
  bool was_asked() const;
};

// "was killed by signal 9 (Killed)", "left, as it was asked to" or "exited with status 1".
std::string Describe(const ProcessExit& exit);

// One child. Not thread-safe. The child is in a process group of its own (the terminal's Ctrl-C does not
// reach it), reads /dev/null, inherits no other descriptor, and starts with default signal dispositions and
// an empty signal mask.
class Process {
 public:
  // Forks and executes; returns once the program runs. To be called from the main thread: the parent-death
  // signal follows the spawning thread. Errors: kNotFound, no such program or log folder; kUnavailable, the
  // system refused; the message names both.
  static absl::StatusOr<std::unique_ptr<Process>> Spawn(const ProcessOptions& options);

  // Kills (SIGKILL) and reaps a child that still runs.
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const std::string& name() const { return name_; }
  const std::string& log_path() const { return log_path_; }
  // From now on the process is called so, and its log is there; whoever calls this has moved it.
  void Rename(std::string name, std::string log_path);
  pid_t pid() const { return pid_; }
  // Becomes readable when the child has ended; for poll().
  int pidfd() const { return pidfd_; }

  // How the child ended, once it has. Never blocks.
  const std::optional<ProcessExit>& TryWait();
  bool running() { return !TryWait().has_value(); }
  // What TryWait() last said.
  const std::optional<ProcessExit>& exit() const { return exit_; }
  // Does nothing once the child was reaped.
  void Kill(int signal);

 private:
  Process(const ProcessOptions& options, pid_t pid, int pidfd);
  void Reap(int flags);

  std::string name_;
  std::string log_path_;
  const pid_t pid_;
  const int pidfd_;
  std::optional<ProcessExit> exit_;
};

}  // namespace tessera::cli
