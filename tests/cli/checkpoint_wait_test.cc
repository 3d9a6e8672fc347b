#include "cli/checkpoint_wait.h"

#include <atomic>
#include <string>

#include "gmock/gmock.h"

namespace tessera::cli {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kLong = absl::Minutes(1);
constexpr absl::Duration kOften = absl::Milliseconds(1);

wire::JobStatus Status(wire::Phase phase, int64_t checkpoint_step) {
  wire::JobStatus status;
  status.set_job("fashion");
  status.set_phase(phase);
  status.set_checkpoint_step(checkpoint_step);
  return status;
}

TEST(CheckpointWait, EndsWithTheFirstCheckpointAtTheClockOrLater) {
  std::atomic<int> calls = 0;
  const auto status =
      AwaitCheckpoint([&] { return Status(wire::RUNNING, 40 * ++calls); }, 100, kLong, kOften);
  ASSERT_TRUE(status.ok()) << status.status();
  EXPECT_GE(status->checkpoint_step(), 120) << "a slow reader may see a later one";
}

TEST(CheckpointWait, OutlastsACoordinatorThatIsAway) {
  std::atomic<int> calls = 0;
  const auto ask = [&]() -> absl::StatusOr<wire::JobStatus> {
    if (++calls < 5) return absl::UnavailableError("away");
    return Status(wire::RUNNING, 100);
  };
  EXPECT_TRUE(AwaitCheckpoint(ask, 100, kLong, kOften).ok());
}

TEST(CheckpointWait, TakesTheCheckpointOfAJobThatHasJustEnded) {
  EXPECT_TRUE(AwaitCheckpoint([] { return Status(wire::DONE, 100); }, 100, kLong, kOften).ok());
}

TEST(CheckpointWait, EndsWithTheJob) {
  for (const wire::Phase phase : {wire::DONE, wire::FAILED, wire::STOPPED}) {
    const auto status = AwaitCheckpoint([&] { return Status(phase, 60); }, 100, kLong, kOften);
    EXPECT_EQ(status.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.status().message()),
                HasSubstr("job `fashion` ended before its checkpoint at step 100"));
  }
}

TEST(CheckpointWait, DoesNotTakeTheStartForACheckpoint) {
  const auto status = AwaitCheckpoint([] { return Status(wire::DONE, 0); }, 0, kLong, kOften);
  EXPECT_EQ(status.status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(CheckpointWait, IsBounded) {
  const absl::Duration timeout = absl::Milliseconds(20);
  const auto slow = AwaitCheckpoint([] { return Status(wire::RUNNING, 60); }, 100, timeout, kOften);
  EXPECT_EQ(slow.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(slow.status().message()), HasSubstr("no checkpoint at step 100 within 20ms"));
  const auto ask = []() -> absl::StatusOr<wire::JobStatus> { return absl::UnavailableError("away"); };
  const auto silent = AwaitCheckpoint(ask, 100, timeout, kOften);
  EXPECT_EQ(silent.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(silent.status().message()), HasSubstr("the coordinator does not answer"));
}

}  // namespace
}  // namespace tessera::cli
