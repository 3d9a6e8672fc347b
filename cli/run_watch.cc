#include "cli/run_watch.h"

#include <utility>

namespace tessera::cli {
namespace {

enum Rank { kLeft = 1, kLeftWithError, kReported, kCoordinatorGone, kKilled, kFinal };

using Kind = RunOutcome::Kind;

}  // namespace

void RunWatch::OnStatus(const wire::JobStatus& status, absl::Time now) {
  switch (status.phase()) {
    case wire::DONE:
      return Believe(kFinal, {.kind = Kind::kDone}, now);
    case wire::STOPPED:
      return Believe(kFinal, {.kind = Kind::kStopped, .message = status.message()}, now);
    case wire::FAILED:
      return Believe(kReported, {.kind = Kind::kFailed, .message = status.message()}, now + kSettling);
    default:
      return;
  }
}

void RunWatch::OnNodeExit(const ProcessExit& exit, const std::string& line, absl::Time now) {
  const RunOutcome outcome = {.kind = Kind::kFailed, .message = line, .coordinator_will_notice = true};
  if (exit.signaled) return Believe(kKilled, outcome, now);
  // A node that leaves in order has heard that the job is over, perhaps before us.
  if (exit.clean()) return Believe(kLeft, outcome, now + lease_ + kExplanation);
  Believe(kLeftWithError, outcome, now + kExplanation);
}

void RunWatch::OnCoordinatorExit(const std::optional<Summary>& summary, const std::string& line) {
  if (!summary.has_value()) {
    return Believe(kCoordinatorGone, {.kind = Kind::kFailed, .message = line}, absl::InfinitePast());
  }
  const Kind kind = summary->done()                ? Kind::kDone
                    : summary->status == "stopped" ? Kind::kStopped
                                                   : Kind::kFailed;
  Believe(kind == Kind::kFailed ? kReported : kFinal, {.kind = kind, .message = summary->message},
          absl::InfinitePast());
}

void RunWatch::OnSilentCoordinator(const std::string& line) {
  Believe(kCoordinatorGone, {.kind = Kind::kFailed, .message = line, .coordinator_silent = true},
          absl::InfinitePast());
}

std::optional<RunOutcome> RunWatch::Outcome(absl::Time now) const {
  if (!belief_.has_value() || now < belief_->from) return std::nullopt;
  return belief_->outcome;
}

absl::Time RunWatch::NextCheck() const {
  return belief_.has_value() ? belief_->from : absl::InfiniteFuture();
}

void RunWatch::Believe(int rank, RunOutcome outcome, absl::Time from) {
  if (belief_.has_value() && belief_->rank >= rank) return;
  belief_ = Belief{std::move(outcome), rank, from};
}

}  // namespace tessera::cli
