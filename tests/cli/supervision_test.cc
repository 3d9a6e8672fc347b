#include "cli/supervision.h"

#include <signal.h>

#include "gmock/gmock.h"

namespace tessera::cli {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr absl::Time kNow = absl::UnixEpoch();
constexpr absl::Duration kLease = absl::Seconds(3);
constexpr ProcessExit kKilled = {.signaled = true, .code = SIGKILL};
constexpr ProcessExit kError = {.code = 1};
constexpr ProcessExit kWrongCommandLine = {.code = 2};
constexpr ProcessExit kAsked = {.code = 128 + SIGTERM};
constexpr ProcessExit kClean = {};
constexpr size_t kCoordinator = 0, kServer = 1, kWorker = 2, kOtherWorker = 3;

class SupervisionTest : public testing::Test {
 protected:
  Supervision Make(bool restart) {
    return Supervision({Place{}, {PlaceKind::kServer, 0}, {PlaceKind::kWorker, 0}, {PlaceKind::kWorker, 1}},
                       {.restart = restart, .lease = kLease, .seed = 1});
  }

  Supervision supervision_ = Make(/*restart=*/true);
  Supervision patient_ = Make(/*restart=*/false);
};

TEST_F(SupervisionTest, NothingIsDueWhileAllRun) {
  EXPECT_THAT(supervision_.TakeDue(absl::InfiniteFuture()), IsEmpty());
  EXPECT_EQ(supervision_.NextDue(), absl::InfiniteFuture());
}

TEST_F(SupervisionTest, KilledProcessIsStartedAtOnceAndOnlyOnce) {
  supervision_.OnExit(kWorker, kKilled, "worker 0 was killed", false, kNow);
  EXPECT_EQ(supervision_.NextDue(), kNow);
  EXPECT_THAT(supervision_.TakeDue(kNow), ElementsAre(kWorker));
  supervision_.OnStarted(kWorker);
  EXPECT_THAT(supervision_.TakeDue(absl::InfiniteFuture()), IsEmpty());
  EXPECT_THAT(supervision_.TakeNews(), ElementsAre("worker 0 was killed"));
  EXPECT_THAT(supervision_.TakeNews(), IsEmpty());
}

TEST_F(SupervisionTest, SecondRestartWaits) {
  supervision_.OnExit(kWorker, kKilled, "", false, kNow);
  supervision_.TakeDue(kNow);
  supervision_.OnStarted(kWorker);
  supervision_.OnExit(kWorker, kKilled, "", false, kNow);
  EXPECT_THAT(supervision_.TakeDue(kNow), IsEmpty());
  EXPECT_GT(supervision_.NextDue(), kNow);
  EXPECT_THAT(supervision_.TakeDue(supervision_.NextDue()), ElementsAre(kWorker));
}

// The job may have failed: its nodes hear of it before we do.
TEST_F(SupervisionTest, NodeThatLeftWithAnErrorIsStartedWhenNobodyExplains) {
  supervision_.OnExit(kServer, kError, "server 0 exited", false, kNow);
  EXPECT_THAT(supervision_.TakeDue(kNow), IsEmpty());
  EXPECT_THAT(supervision_.TakeNews(), IsEmpty());
  EXPECT_EQ(supervision_.NextDue(), kNow + Supervision::kExplanation);
  EXPECT_THAT(supervision_.TakeDue(supervision_.NextDue()), ElementsAre(kServer));
  EXPECT_THAT(supervision_.TakeNews(), ElementsAre("server 0 exited"));
}

TEST_F(SupervisionTest, NodeThatLeftInOrderIsGivenALeaseMore) {
  supervision_.OnExit(kServer, kClean, "", false, kNow);
  EXPECT_EQ(supervision_.NextDue(), kNow + kLease + Supervision::kExplanation);
}

TEST_F(SupervisionTest, CoordinatorThatLeftNoWordIsStartedAtOnce) {
  supervision_.OnExit(kCoordinator, kError, "", false, kNow);
  EXPECT_THAT(supervision_.TakeDue(kNow), ElementsAre(kCoordinator));
}

TEST_F(SupervisionTest, WrongCommandLineIsNeverTriedAgain) {
  supervision_.OnExit(kWorker, kWrongCommandLine, "worker 0 exited with status 2", false, kNow);
  EXPECT_EQ(supervision_.failure(), "worker 0 exited with status 2");
  EXPECT_THAT(supervision_.TakeDue(absl::InfiniteFuture()), IsEmpty());
}

TEST_F(SupervisionTest, ProcessThatKeepsDyingEndsTheRun) {
  for (int death = 0; death <= RestartPolicy::kMostInAMinute; ++death) {
    EXPECT_EQ(supervision_.failure(), std::nullopt);
    supervision_.OnExit(kWorker, kKilled, "worker 0 was killed; log: x", false, kNow);
    supervision_.TakeDue(absl::InfiniteFuture());
    supervision_.OnStarted(kWorker);
  }
  EXPECT_EQ(supervision_.failure(),
            "worker 0 was killed; log: x; given up: started again 5 times within a minute");
}

TEST_F(SupervisionTest, HeldProcessWaitsForWhoeverHoldsIt) {
  supervision_.OnExit(kWorker, kKilled, "", true, kNow);
  EXPECT_THAT(supervision_.TakeDue(absl::InfiniteFuture()), IsEmpty());
  supervision_.OnStarted(kWorker);
  supervision_.OnExit(kWorker, kKilled, "", false, kNow);
  EXPECT_THAT(supervision_.TakeDue(kNow), ElementsAre(kWorker)) << "a held death is none of ours";
}

TEST_F(SupervisionTest, StartByAnotherCancelsOurs) {
  supervision_.OnExit(kWorker, kKilled, "", false, kNow);
  supervision_.OnStarted(kWorker);
  EXPECT_THAT(supervision_.TakeDue(absl::InfiniteFuture()), IsEmpty());
}

TEST_F(SupervisionTest, NodeThatLeftAsItWasAskedToIsNotStartedAgain) {
  supervision_.OnExit(kServer, kAsked, "server 0 left, as it was asked to", false, kNow);
  EXPECT_THAT(supervision_.TakeDue(absl::InfiniteFuture()), IsEmpty());
  EXPECT_EQ(supervision_.NextDue(), absl::InfiniteFuture());
  EXPECT_THAT(supervision_.TakeNews(), ElementsAre("server 0 left, as it was asked to"));
  EXPECT_EQ(supervision_.failure(), std::nullopt) << "one may come from elsewhere";
}

TEST_F(SupervisionTest, WithoutRestartsALastNodeMayBeAskedToLeave) {
  patient_.OnExit(kServer, kAsked, "", false, kNow);
  EXPECT_THAT(patient_.TakeDue(absl::InfiniteFuture()), IsEmpty());
  EXPECT_EQ(patient_.failure(), std::nullopt);
}

TEST_F(SupervisionTest, CoordinatorThatWasAskedToLeaveAndLeftNoWordIsStartedAgain) {
  supervision_.OnExit(kCoordinator, kAsked, "", false, kNow);
  EXPECT_THAT(supervision_.TakeDue(kNow), ElementsAre(kCoordinator));
}

TEST_F(SupervisionTest, WithoutRestartsTheRunGoesOnWithTheRest) {
  patient_.OnExit(kWorker, kKilled, "worker 0 was killed", false, kNow);
  EXPECT_THAT(patient_.TakeDue(absl::InfiniteFuture()), IsEmpty());
  EXPECT_THAT(patient_.TakeNews(), ElementsAre("worker 0 was killed"));
  EXPECT_EQ(patient_.failure(), std::nullopt);
}

TEST_F(SupervisionTest, WithoutRestartsTheLastOfAKindEndsTheRun) {
  patient_.OnExit(kWorker, kKilled, "worker 0 was killed", false, kNow);
  patient_.OnExit(kOtherWorker, kKilled, "worker 1 was killed", false, kNow);
  EXPECT_EQ(patient_.failure(), "no worker is left: worker 1 was killed");
}

TEST_F(SupervisionTest, WithoutRestartsOneThatThePlanStartsLaterIsHope) {
  patient_.OnExit(kServer, kKilled, "", true, kNow);
  patient_.OnExit(kWorker, kKilled, "", true, kNow);
  patient_.OnExit(kOtherWorker, kKilled, "", false, kNow);
  EXPECT_EQ(patient_.failure(), std::nullopt);
}

TEST_F(SupervisionTest, WithoutRestartsTheCoordinatorsDeathEndsTheRun) {
  patient_.OnExit(kCoordinator, kKilled, "coordinator was killed", false, kNow);
  EXPECT_EQ(patient_.failure(), "coordinator was killed");
}

TEST_F(SupervisionTest, WithoutRestartsALastNodeThatLeftMayHaveHeardOfTheEnd) {
  patient_.OnExit(kServer, kClean, "server 0 exited with status 0", false, kNow);
  EXPECT_EQ(patient_.failure(), std::nullopt);
  patient_.TakeDue(patient_.NextDue());
  EXPECT_EQ(patient_.failure(), "no server is left: server 0 exited with status 0");
}

}  // namespace
}  // namespace tessera::cli
