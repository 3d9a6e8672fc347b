// Knows how a run ended, from what the coordinator says and leaves behind. A pure state machine. Not
// thread-safe.
#pragma once

#include <optional>
#include <string>

#include "cli/summary.h"
#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

struct RunOutcome {
  enum class Kind { kDone, kStopped, kFailed };
  Kind kind = Kind::kFailed;
  std::string message;  // kFailed, kStopped: why, one line
  // The coordinator knows of it: it tells its nodes, and writes the summary. Otherwise it is to be ended.
  bool coordinator_knows = false;
};

// Several things are often seen of one cause; the first word counts. Deaths end no run by themselves:
// Supervision says when one cannot go on.
class RunWatch {
 public:
  void OnStatus(const wire::JobStatus& status);
  // `summary`: what a coordinator that has ended left, if it got so far.
  void OnCoordinatorExit(const std::optional<Summary>& summary);
  // The run cannot go on; `line` says why.
  void OnFailure(const std::string& line);

  // How the run ended, once that is clear.
  const std::optional<RunOutcome>& outcome() const { return outcome_; }

 private:
  void Believe(RunOutcome outcome);

  std::optional<RunOutcome> outcome_;
};

}  // namespace tessera::cli
