#include "cli/run_watch.h"

#include <utility>

namespace tessera::cli {
namespace {

using Kind = RunOutcome::Kind;

}  // namespace

void RunWatch::OnStatus(const wire::JobStatus& status) {
  switch (status.phase()) {
    case wire::DONE:
      return Believe({.kind = Kind::kDone, .message = "", .coordinator_knows = true});
    case wire::STOPPED:
      return Believe({.kind = Kind::kStopped, .message = status.message(), .coordinator_knows = true});
    case wire::FAILED:
      return Believe({.kind = Kind::kFailed, .message = status.message(), .coordinator_knows = true});
    default:
      return;
  }
}

void RunWatch::OnCoordinatorExit(const std::optional<Summary>& summary) {
  if (!summary.has_value()) return;
  const Kind kind = summary->done()                ? Kind::kDone
                    : summary->status == "stopped" ? Kind::kStopped
                                                   : Kind::kFailed;
  Believe({.kind = kind, .message = summary->message, .coordinator_knows = true});
}

void RunWatch::OnFailure(const std::string& line) {
  Believe({.kind = Kind::kFailed, .message = line, .coordinator_knows = false});
}

void RunWatch::Believe(RunOutcome outcome) {
  if (!outcome_.has_value()) outcome_ = std::move(outcome);
}

}  // namespace tessera::cli
