#include "cli/process_group.h"

#include <signal.h>

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

// Rounded up, so that a wait never ends before its time and loops do not spin.
int Milliseconds(absl::Duration timeout) {
  return static_cast<int>(std::clamp<int64_t>(
      absl::ToInt64Milliseconds(absl::Ceil(timeout, absl::Milliseconds(1))), 0, 3'600'000));
}

}  // namespace

absl::Status ProcessGroup::Start(const ProcessOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<Process> process, Process::Spawn(options));
  processes_.push_back(std::move(process));
  reported_.push_back(false);
  return absl::OkStatus();
}

absl::Status ProcessGroup::Restart(size_t index, const ProcessOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(processes_[index], Process::Spawn(options));
  reported_[index] = false;
  return absl::OkStatus();
}

std::vector<size_t> ProcessGroup::TakeExits() {
  std::vector<size_t> exits;
  for (size_t i = 0; i < processes_.size(); ++i) {
    if (reported_[i] || processes_[i]->running()) continue;
    reported_[i] = true;
    exits.push_back(i);
  }
  std::stable_partition(exits.begin(), exits.end(),
                        [this](size_t i) { return processes_[i]->exit()->signaled; });
  return exits;
}

bool ProcessGroup::AllExited() {
  TakeExits();
  return std::all_of(reported_.begin(), reported_.end(), [](bool reported) { return reported; });
}

void ProcessGroup::Wait(const std::vector<int>& extra, absl::Duration timeout) {
  std::vector<pollfd> fds;
  for (const int fd : extra) fds.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  // An exit that nobody has taken yet ends the wait at once: the descriptor stays readable.
  for (size_t i = 0; i < processes_.size(); ++i) {
    if (!reported_[i]) fds.push_back({.fd = processes_[i]->pidfd(), .events = POLLIN, .revents = 0});
  }
  poll(fds.data(), fds.size(), Milliseconds(timeout));
}

void ProcessGroup::Stop(const StopGrace& grace, const std::vector<int>& extra,
                        const std::function<bool()>& hurry) {
  bool hurried = false;
  if (WaitForAll(grace.voluntary, extra, hurry, &hurried)) return;
  if (!hurried) {
    KillAll(SIGTERM);
    if (WaitForAll(grace.terminate, extra, hurry, &hurried)) return;
  }
  KillAll(SIGKILL);
  while (!AllExited()) Wait({}, absl::Seconds(1));
}

bool ProcessGroup::WaitForAll(absl::Duration timeout, const std::vector<int>& extra,
                              const std::function<bool()>& hurry, bool* hurried) {
  const absl::Time deadline = absl::Now() + timeout;
  while (!AllExited()) {
    if (hurry()) *hurried = true;
    const absl::Duration left = deadline - absl::Now();
    if (*hurried || left <= absl::ZeroDuration()) return false;
    Wait(extra, left);
  }
  return true;
}

void ProcessGroup::KillAll(int signal) {
  for (const std::unique_ptr<Process>& process : processes_) process->Kill(signal);
}

}  // namespace tessera::cli
