#include "cli/status_poller.h"

#include <poll.h>

#include <atomic>
#include <vector>

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

wire::JobStatus Status(wire::Phase phase, int64_t step) {
  wire::JobStatus status;
  status.set_phase(phase);
  status.set_step(step);
  return status;
}

// The next status; gives up after half a minute.
std::optional<wire::JobStatus> Await(StatusPoller* poller) {
  pollfd fd = {.fd = poller->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&fd, 1, 30'000), 1);
  return poller->Take();
}

TEST(StatusPoller, HandsOutEachAnswerUntilTheJobIsOver) {
  std::atomic<int> calls = 0;
  auto poller = StatusPoller::Start(
      [&calls]() -> absl::StatusOr<wire::JobStatus> {
        const int call = ++calls;
        if (call == 1) return absl::UnavailableError("not yet");
        return Status(call < 4 ? wire::RUNNING : wire::DONE, call);
      },
      absl::Milliseconds(1));
  ASSERT_TRUE(poller.ok());
  int64_t last = 0;
  while (last < 4) {
    const std::optional<wire::JobStatus> status = Await(poller->get());
    ASSERT_TRUE(status.has_value());
    EXPECT_GT(status->step(), last);
    last = status->step();
  }
  EXPECT_FALSE((*poller)->Take().has_value());
  poller->reset();
  EXPECT_EQ(calls, 4);
}

TEST(StatusPoller, CountsQuestionsWithoutAnAnswerInARow) {
  std::atomic<int> calls = 0;
  StatusPoller* asked = nullptr;
  std::atomic<bool> ready = false;
  std::vector<int> counts;
  auto poller = StatusPoller::Start(
      [&]() -> absl::StatusOr<wire::JobStatus> {
        ready.wait(false);
        counts.push_back(asked->unanswered());
        const int call = ++calls;
        if (call == 1 || call == 2 || call == 4) return absl::UnavailableError("silent");
        return Status(call < 5 ? wire::RUNNING : wire::DONE, call);
      },
      absl::ZeroDuration());
  ASSERT_TRUE(poller.ok());
  asked = poller->get();
  ready = true;
  ready.notify_all();
  while (Await(asked)->step() < 5) {
  }
  poller->reset();
  EXPECT_EQ(counts, std::vector<int>({0, 1, 2, 0, 1}));
}

TEST(StatusPoller, EndsInTheMiddleOfItsInterval) {
  auto poller = StatusPoller::Start([] { return Status(wire::RUNNING, 1); }, absl::Hours(1));
  ASSERT_TRUE(poller.ok());
  EXPECT_TRUE(Await(poller->get()).has_value());
  poller->reset();
}

}  // namespace
}  // namespace tessera::cli
