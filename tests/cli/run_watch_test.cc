#include "cli/run_watch.h"

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

using Kind = RunOutcome::Kind;

wire::JobStatus Status(wire::Phase phase, const std::string& message = "") {
  wire::JobStatus status;
  status.set_phase(phase);
  status.set_message(message);
  return status;
}

Summary SummaryOf(const std::string& status, const std::string& message = "") {
  Summary summary;
  summary.status = status;
  summary.message = message;
  return summary;
}

class RunWatchTest : public testing::Test {
 protected:
  RunOutcome Outcome() {
    EXPECT_TRUE(watch_.outcome().has_value());
    return watch_.outcome().value_or(RunOutcome{});
  }

  RunWatch watch_;
};

TEST_F(RunWatchTest, RunningJobHasNoOutcome) {
  for (const wire::Phase phase : {wire::WAITING, wire::RUNNING, wire::FINISHING})
    watch_.OnStatus(Status(phase));
  EXPECT_EQ(watch_.outcome().has_value(), false);
}

TEST_F(RunWatchTest, CoordinatorsWordEndsTheRun) {
  watch_.OnStatus(Status(wire::DONE));
  EXPECT_EQ(Outcome().kind, Kind::kDone);
  EXPECT_TRUE(Outcome().coordinator_knows);
}

TEST_F(RunWatchTest, StoppedJobIsNoFailure) {
  watch_.OnStatus(Status(wire::STOPPED, "stopped on request"));
  EXPECT_EQ(Outcome().kind, Kind::kStopped);
  EXPECT_EQ(Outcome().message, "stopped on request");
}

TEST_F(RunWatchTest, ReportedFailureGivesItsReason) {
  watch_.OnStatus(Status(wire::FAILED, "the loss is nan"));
  EXPECT_EQ(Outcome().kind, Kind::kFailed);
  EXPECT_EQ(Outcome().message, "the loss is nan");
  EXPECT_TRUE(Outcome().coordinator_knows);
}

TEST_F(RunWatchTest, FailureThatTheCoordinatorDoesNotKnowIsToBeToldToIt) {
  watch_.OnFailure("no worker is left");
  EXPECT_EQ(Outcome().kind, Kind::kFailed);
  EXPECT_EQ(Outcome().message, "no worker is left");
  EXPECT_FALSE(Outcome().coordinator_knows);
}

TEST_F(RunWatchTest, FirstWordCounts) {
  watch_.OnStatus(Status(wire::DONE));
  watch_.OnFailure("no worker is left");
  EXPECT_EQ(Outcome().kind, Kind::kDone);
}

TEST_F(RunWatchTest, SummaryTellsWhatAGoneCoordinatorDidNotSay) {
  watch_.OnCoordinatorExit(SummaryOf("done"));
  EXPECT_EQ(Outcome().kind, Kind::kDone);
}

TEST_F(RunWatchTest, SummaryOfAFailureGivesItsReason) {
  watch_.OnCoordinatorExit(SummaryOf("failed", "the loss is nan"));
  EXPECT_EQ(Outcome().kind, Kind::kFailed);
  EXPECT_EQ(Outcome().message, "the loss is nan");
}

TEST_F(RunWatchTest, StoppedSummaryStops) {
  watch_.OnCoordinatorExit(SummaryOf("stopped"));
  EXPECT_EQ(Outcome().kind, Kind::kStopped);
}

TEST_F(RunWatchTest, CoordinatorThatLeftNothingEndsNoRun) {
  watch_.OnCoordinatorExit(std::nullopt);
  EXPECT_EQ(watch_.outcome().has_value(), false);
}

}  // namespace
}  // namespace tessera::cli
