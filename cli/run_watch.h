// Decides how a run ended, from what the coordinator says and how its processes end. A pure state machine:
// times are passed in. Not thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "cli/process.h"
#include "cli/summary.h"
#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

struct RunOutcome {
  enum class Kind { kDone, kStopped, kFailed };
  Kind kind = Kind::kFailed;
  std::string message;  // kFailed, kStopped: why, one line
  // The coordinator still lives to notice the death of the process that `message` names, and to write the
  // summary.
  bool coordinator_will_notice = false;
  bool coordinator_silent = false;  // it lives, but answers nobody
};

// Several things are often seen of one cause, in any order. A process killed by a signal is the cause; after
// it counts what the coordinator says; a process that only left is believed last, when the others had time to
// speak.
class RunWatch {
 public:
  // `lease`: how long the coordinator takes to notice a death.
  explicit RunWatch(absl::Duration lease) : lease_(lease) {}

  void OnStatus(const wire::JobStatus& status, absl::Time now);
  // `line` names the process, its end and its log.
  void OnNodeExit(const ProcessExit& exit, const std::string& line, absl::Time now);
  // `summary`: what the coordinator left, if it got so far.
  void OnCoordinatorExit(const std::optional<Summary>& summary, const std::string& line);

  // `line` names the coordinator: it lives, but has not answered for a lease.
  void OnSilentCoordinator(const std::string& line);

  // How the run ended, once that is clear.
  std::optional<RunOutcome> Outcome(absl::Time now) const;
  // When to ask for the outcome again although nothing new has come; InfiniteFuture when there is no need.
  absl::Time NextCheck() const;

  // How long a failure that the coordinator reports may still turn out to be a killed process.
  static constexpr absl::Duration kSettling = absl::Milliseconds(200);
  // How long the coordinator has to explain why a node left with an error.
  static constexpr absl::Duration kExplanation = absl::Seconds(1);

 private:
  struct Belief {
    RunOutcome outcome;
    int rank;         // a higher one replaces it
    absl::Time from;  // when it becomes the outcome
  };
  void Believe(int rank, RunOutcome outcome, absl::Time from);

  const absl::Duration lease_;
  std::optional<Belief> belief_;
};

}  // namespace tessera::cli
