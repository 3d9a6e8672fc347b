// Which of a run's dead processes are to be started again, and when a run cannot go on without them. A pure
// state machine but for the jitter of its delays: times are passed in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "cli/place.h"
#include "cli/process.h"
#include "cli/restart_policy.h"

namespace tessera::cli {

struct SupervisionOptions {
  bool restart = true;   // false: dead stays dead
  absl::Duration lease;  // of the job
  uint64_t seed = 0;     // of the delays' jitter
};

// Not thread-safe. Whether the job itself is over is decided elsewhere (RunWatch).
class Supervision {
 public:
  // How long an exit that no signal caused may still turn out to be the job's end.
  static constexpr absl::Duration kExplanation = absl::Seconds(1);

  // `places`: of the processes, by index.
  Supervision(std::vector<Place> places, const SupervisionOptions& options);

  // `line` names the process, its end and its log. For a coordinator: one that left no word of the job's end.
  // A node that left as it was asked to is not started again, and no failure: others may come in its place.
  // `held`: somebody else will start it, and call OnStarted().
  void OnExit(size_t process, const ProcessExit& exit, const std::string& line, bool held, absl::Time now);
  // It runs (again), whoever started it.
  void OnStarted(size_t process);

  // Those to be started now; each once. Also gives up on what can wait no longer.
  std::vector<size_t> TakeDue(absl::Time now);
  // What became of processes since the last call, as lines: those that are dead or were asked to leave, and
  // not because the job is over.
  std::vector<std::string> TakeNews();
  // When to call TakeDue() next; InfiniteFuture when nothing waits.
  absl::Time NextDue() const;
  // Why the run cannot go on, in one line that names the process and its log.
  const std::optional<std::string>& failure() const { return failure_; }

 private:
  struct Seat {
    Place place;
    enum { kRunning, kLeft, kWaiting, kHeld, kDead } state = kRunning;
    absl::Time due;    // kLeft: believed dead; kWaiting: started
    std::string line;  // of its last exit
  };
  void BelieveDead(size_t process, absl::Time now);
  void LeaveDead(size_t process);
  bool AnyHope(PlaceKind kind) const;
  void Fail(std::string line);

  const SupervisionOptions options_;
  RestartPolicy policy_;
  std::vector<Seat> seats_;
  std::vector<std::string> news_;
  std::optional<std::string> failure_;
};

}  // namespace tessera::cli
