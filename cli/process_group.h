// The daemons of one run: started together, watched together, stopped together.
#pragma once

#include <poll.h>

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "cli/process.h"

namespace tessera::cli {

// How long each step of stopping may take before the next, harder one.
struct StopGrace {
  absl::Duration voluntary;  // for children that are about to end by themselves
  absl::Duration terminate;  // after SIGTERM; then SIGKILL
};

// Not thread-safe. The destructor kills and reaps what still runs.
class ProcessGroup {
 public:
  // Errors: those of Process::Spawn.
  absl::Status Start(const ProcessOptions& options);
  // Puts a new process in the place of one whose exit was taken. Errors: those of Process::Spawn; the old one
  // then stays.
  absl::Status Restart(size_t index, const ProcessOptions& options);

  size_t size() const { return processes_.size(); }
  Process& process(size_t index) { return *processes_[index]; }
  const Process& process(size_t index) const { return *processes_[index]; }

  // Indices of the processes that ended since the last call; those killed by a signal come first: they are
  // causes, others may be consequences. Never blocks.
  std::vector<size_t> TakeExits();

  bool exit_taken(size_t index) const { return reported_[index]; }

  // Waits until there is an exit to take, one of `extra` is readable, or `timeout` has passed.
  void Wait(const std::vector<int>& extra, absl::Duration timeout);

  // Takes all exits and ends every child: waits, then SIGTERM, then SIGKILL. `hurry` is asked again whenever
  // `extra` is readable; true means SIGKILL at once. When it returns, every child has been reaped.
  void Stop(const StopGrace& grace, const std::vector<int>& extra, const std::function<bool()>& hurry);

 private:
  // Takes what has ended.
  bool AllExited();
  // True when all ended in time; false at once when `hurry`.
  bool WaitForAll(absl::Duration timeout, const std::vector<int>& extra, const std::function<bool()>& hurry,
                  bool* hurried);
  void KillAll(int signal);

  std::vector<std::unique_ptr<Process>> processes_;
  std::vector<bool> reported_;  // by TakeExits()
};

}  // namespace tessera::cli
