#include "cli/run_watch.h"

#include <signal.h>

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

using Kind = RunOutcome::Kind;

constexpr absl::Duration kLease = absl::Seconds(3);
constexpr absl::Time kNow = absl::UnixEpoch();
constexpr ProcessExit kKilled = {.signaled = true, .code = SIGKILL};
constexpr ProcessExit kError = {.code = 1};
constexpr ProcessExit kClean = {};

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
  // The outcome at its earliest moment.
  RunOutcome Outcome() {
    const absl::Time when = std::max(watch_.NextCheck(), kNow);
    EXPECT_LT(when, absl::InfiniteFuture());
    const std::optional<RunOutcome> outcome = watch_.Outcome(when);
    EXPECT_TRUE(outcome.has_value());
    return outcome.value_or(RunOutcome{});
  }
  bool DecidedNow() { return watch_.Outcome(kNow).has_value(); }

  RunWatch watch_{kLease};
};

TEST_F(RunWatchTest, RunningJobHasNoOutcome) {
  watch_.OnStatus(Status(wire::WAITING), kNow);
  watch_.OnStatus(Status(wire::RUNNING), kNow);
  watch_.OnStatus(Status(wire::FINISHING), kNow);
  EXPECT_FALSE(watch_.Outcome(absl::InfiniteFuture()).has_value());
  EXPECT_EQ(watch_.NextCheck(), absl::InfiniteFuture());
}

TEST_F(RunWatchTest, CoordinatorsWordEndsTheRun) {
  watch_.OnStatus(Status(wire::DONE), kNow);
  EXPECT_TRUE(DecidedNow());
  EXPECT_EQ(Outcome().kind, Kind::kDone);
}

TEST_F(RunWatchTest, StoppedJobIsNoFailure) {
  watch_.OnStatus(Status(wire::STOPPED, "stopped on request"), kNow);
  EXPECT_EQ(Outcome().kind, Kind::kStopped);
  EXPECT_EQ(Outcome().message, "stopped on request");
}

TEST_F(RunWatchTest, SilentCoordinatorIsTheCauseOfWhatNodesSay) {
  watch_.OnNodeExit(kError, "server 0 exited with status 1", kNow);
  watch_.OnSilentCoordinator("coordinator does not answer");
  EXPECT_TRUE(DecidedNow());
  EXPECT_EQ(Outcome().message, "coordinator does not answer");
  EXPECT_TRUE(Outcome().coordinator_silent);
}

TEST_F(RunWatchTest, KilledProcessEndsTheRunAtOnce) {
  watch_.OnNodeExit(kKilled, "server 1 was killed", kNow);
  EXPECT_TRUE(DecidedNow());
  EXPECT_EQ(Outcome().kind, Kind::kFailed);
  EXPECT_EQ(Outcome().message, "server 1 was killed");
  EXPECT_TRUE(Outcome().coordinator_will_notice);
}

TEST_F(RunWatchTest, KilledProcessIsTheCauseOfWhatTheCoordinatorReportedJustBefore) {
  watch_.OnStatus(Status(wire::FAILED, "worker 0 lost server 1"), kNow);
  EXPECT_FALSE(DecidedNow());
  watch_.OnNodeExit(kKilled, "server 1 was killed", kNow);
  EXPECT_TRUE(DecidedNow());
  EXPECT_EQ(Outcome().message, "server 1 was killed");
}

TEST_F(RunWatchTest, ReportedFailureCountsOnceItHasSettled) {
  watch_.OnStatus(Status(wire::FAILED, "the loss is nan"), kNow);
  EXPECT_EQ(watch_.NextCheck(), kNow + RunWatch::kSettling);
  EXPECT_EQ(Outcome().message, "the loss is nan");
  EXPECT_FALSE(Outcome().coordinator_will_notice);
}

TEST_F(RunWatchTest, CoordinatorExplainsWhyANodeLeftWithAnError) {
  watch_.OnNodeExit(kError, "worker 0 exited with status 1", kNow);
  EXPECT_FALSE(DecidedNow());
  watch_.OnStatus(Status(wire::FAILED, "the loss is nan"), kNow);
  EXPECT_EQ(Outcome().message, "the loss is nan");
}

TEST_F(RunWatchTest, NodeThatLeftWithAnErrorIsNamedWhenNobodyExplains) {
  watch_.OnNodeExit(kError, "worker 0 exited with status 1", kNow);
  watch_.OnNodeExit(kError, "worker 1 exited with status 1", kNow);
  EXPECT_EQ(watch_.NextCheck(), kNow + RunWatch::kExplanation);
  EXPECT_EQ(Outcome().message, "worker 0 exited with status 1");
}

TEST_F(RunWatchTest, NodesLeaveInOrderBeforeTheCoordinatorIsHeard) {
  watch_.OnNodeExit(kClean, "worker 0 exited with status 0", kNow);
  EXPECT_FALSE(watch_.Outcome(kNow + kLease).has_value());
  watch_.OnStatus(Status(wire::DONE), kNow + kLease);
  EXPECT_EQ(watch_.Outcome(kNow + kLease)->kind, Kind::kDone);
}

TEST_F(RunWatchTest, NodeThatLeavesARunningJobFailsIt) {
  watch_.OnNodeExit(kClean, "worker 0 exited with status 0", kNow);
  EXPECT_EQ(watch_.NextCheck(), kNow + kLease + RunWatch::kExplanation);
  EXPECT_EQ(Outcome().kind, Kind::kFailed);
}

TEST_F(RunWatchTest, SummaryTellsWhatAGoneCoordinatorDidNotSay) {
  watch_.OnCoordinatorExit(SummaryOf("done"), "coordinator exited with status 0");
  EXPECT_TRUE(DecidedNow());
  EXPECT_EQ(Outcome().kind, Kind::kDone);
}

TEST_F(RunWatchTest, SummaryOfAFailureGivesItsReason) {
  watch_.OnCoordinatorExit(SummaryOf("failed", "the loss is nan"), "coordinator exited with status 1");
  EXPECT_EQ(Outcome().kind, Kind::kFailed);
  EXPECT_EQ(Outcome().message, "the loss is nan");
}

TEST_F(RunWatchTest, StoppedSummaryStops) {
  watch_.OnCoordinatorExit(SummaryOf("stopped"), "coordinator exited with status 0");
  EXPECT_EQ(Outcome().kind, Kind::kStopped);
}

TEST_F(RunWatchTest, CoordinatorThatLeftNothingIsNamed) {
  watch_.OnNodeExit(kError, "worker 0 exited with status 1", kNow);
  watch_.OnCoordinatorExit(std::nullopt, "coordinator was killed");
  EXPECT_TRUE(DecidedNow());
  EXPECT_EQ(Outcome().message, "coordinator was killed");
}

}  // namespace
}  // namespace tessera::cli
