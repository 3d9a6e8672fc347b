#include "cli/checkpoint_wait.h"

#include <poll.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

// Of one wait, so that it fits poll's milliseconds.
constexpr absl::Duration kLongestWait = absl::Hours(1);

// What the poller has, or nothing when `deadline` comes first.
std::optional<wire::JobStatus> NextStatus(StatusPoller* poller, absl::Time deadline) {
  for (absl::Time now = absl::Now(); now < deadline; now = absl::Now()) {
    if (std::optional<wire::JobStatus> status = poller->Take()) return status;
    pollfd fd = {.fd = poller->fd(), .events = POLLIN, .revents = 0};
    const absl::Duration left = std::min(deadline - now, kLongestWait);
    poll(&fd, 1, static_cast<int>(absl::ToInt64Milliseconds(left)) + 1);
  }
  return std::nullopt;
}

bool IsOver(wire::Phase phase) {
  return phase == wire::DONE || phase == wire::FAILED || phase == wire::STOPPED;
}

}  // namespace

absl::StatusOr<wire::JobStatus> AwaitCheckpoint(StatusPoller::Ask ask, Clock clock, absl::Duration timeout,
                                                absl::Duration interval) {
  const absl::Time deadline = absl::Now() + timeout;
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<StatusPoller> poller,
                           StatusPoller::Start(std::move(ask), interval));
  while (std::optional<wire::JobStatus> status = NextStatus(poller.get(), deadline)) {
    if (status->checkpoint_step() > 0 && status->checkpoint_step() >= clock) return *std::move(status);
    if (IsOver(status->phase())) {
      return absl::FailedPreconditionError(
          absl::StrCat("job `", status->job(), "` ended before its checkpoint at step ", clock));
    }
  }
  const bool answers = poller->unanswered() == 0;
  return absl::DeadlineExceededError(absl::StrCat("no checkpoint at step ", clock, " within ",
                                                  absl::FormatDuration(timeout),
                                                  answers ? "" : ": the coordinator does not answer"));
}

}  // namespace tessera::cli
