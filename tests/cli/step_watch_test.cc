#include "cli/step_watch.h"

#include <poll.h>

#include <atomic>

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

// The next step; gives up after half a minute.
std::optional<int64_t> Await(StepWatch* watch) {
  pollfd fd = {.fd = watch->fd(), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&fd, 1, 30'000), 1);
  return watch->Take();
}

TEST(StepWatch, AsksTheServersItWasToldOf) {
  auto watch = StepWatch::Start(
      [](const std::vector<std::string>& servers) { return static_cast<int64_t>(servers.size()); },
      absl::Milliseconds(1));
  ASSERT_TRUE(watch.ok());
  (*watch)->SetServers({"a", "b"});
  EXPECT_EQ(Await(watch->get()), 2);
}

TEST(StepWatch, SilenceOfAllServersIsNoStep) {
  std::atomic<int> calls = 0;
  auto watch = StepWatch::Start(
      [&calls](const std::vector<std::string>&) -> std::optional<int64_t> {
        if (++calls < 3) return std::nullopt;
        return 7;
      },
      absl::ZeroDuration());
  ASSERT_TRUE(watch.ok());
  (*watch)->SetServers({"a"});
  EXPECT_EQ(Await(watch->get()), 7);
  EXPECT_GE(calls, 3);
}

TEST(StepWatch, EndsInTheMiddleOfItsInterval) {
  auto watch = StepWatch::Start([](const std::vector<std::string>&) { return std::nullopt; }, absl::Hours(1));
  ASSERT_TRUE(watch.ok());
  watch->reset();
}

}  // namespace
}  // namespace tessera::cli
