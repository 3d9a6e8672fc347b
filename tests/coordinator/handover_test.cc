// Replicas that change workers while all of them live, as scripts: docs/adr/0009-recovery.md, "A join or a
// drain".
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/recovery_fixture.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class HandoverTest : public RecoveryTest {
 protected:
  int64_t Handover() { return Newest().handover(); }
  void FollowServers() {
    for (auto& [number, process] : processes_) {
      if (process.up && process.kind == wire::SERVER) Follow(number);
    }
  }
};

TEST_F(HandoverTest, AJoinIsAgreedOnOnceAllServersHaveAdoptedTheMap) {
  BeginAndAdopt(2, 1);
  const int64_t term = Status().term();
  processes_[1].newest_version = 2;
  processes_[2].newest_version = 3;
  const int newcomer = Join(wire::WORKER);
  Tick();
  EXPECT_GT(Status().term(), term);
  Follow(1);
  EXPECT_EQ(Handover(), 0);
  EXPECT_EQ(Beat(3).term(), term) << "no worker hears of it before";
  EXPECT_FALSE(Map(newcomer).ok());
  Follow(2);
  EXPECT_EQ(Handover(), 6) << "beyond what anybody can have begun";
  EXPECT_EQ(Map(3)->handover(), 6);
  EXPECT_EQ(Map(newcomer)->handover(), 6);
  EXPECT_THAT(Messages("handover"), ElementsAre(HasSubstr("from step 6 on")));
  processes_[1].newest_version = 5;
  Beat(1);
  Tick();
  EXPECT_EQ(Handover(), 6) << "it is agreed";
}

TEST_F(HandoverTest, NobodyHearsOfOneThatIsNotJournaled) {
  Begin(1, 1, {.journaled = true});
  state_->OnJournaled(state_->changes());
  Settle();
  const int newcomer = Join(wire::WORKER);
  Tick();
  state_->OnJournaled(state_->changes());
  const int64_t before = state_->changes();
  Follow(1);
  EXPECT_EQ(Handover(), 3);
  EXPECT_GT(state_->changes(), before);
  EXPECT_FALSE(Map(newcomer).ok());
  state_->OnJournaled(state_->changes());
  EXPECT_EQ(Map(newcomer)->handover(), 3);
}

TEST_F(HandoverTest, IsNotBeyondTheJobsEnd) {
  BeginAndAdopt(1, 1);
  processes_[1].newest_version = 7;
  Join(wire::WORKER);
  Tick();
  FollowServers();
  EXPECT_EQ(Handover(), 8);
}

TEST_F(HandoverTest, WithADeathThereIsNone) {
  BeginAndAdopt(1, 2);
  Kill(3);
  const int newcomer = Join(wire::WORKER);
  Tick();
  Settle();
  ASSERT_EQ(Map(newcomer)->workers_size(), 2);
  EXPECT_EQ(Map(newcomer)->handover(), 0);
}

TEST_F(HandoverTest, InOtherModesThereIsNone) {
  consistency_ = {.mode = "async", .group = 1};
  BeginAndAdopt(1, 1);
  const int newcomer = Join(wire::WORKER);
  Tick();
  Settle();
  EXPECT_EQ(Map(newcomer)->workers_size(), 2);
  EXPECT_EQ(Map(newcomer)->handover(), 0);
}

TEST_F(HandoverTest, TheNextJoinWaitsUntilEverybodyRunsWhatItIsTo) {
  BeginAndAdopt(1, 1);
  const int newcomer = Join(wire::WORKER);
  Tick();
  FollowServers();
  Follow(newcomer);
  const int64_t term = Status().term();
  Join(wire::WORKER);
  Pass(absl::Seconds(1));
  EXPECT_EQ(Status().term(), term) << "worker 0 still runs what it ran before";
  Follow(2);
  Tick();
  EXPECT_GT(Status().term(), term);
  EXPECT_EQ(Newest().workers_size(), 3);
}

TEST_F(HandoverTest, ADeathInTheMidstMakesAMapWithoutOne) {
  BeginAndAdopt(1, 1);
  const int newcomer = Join(wire::WORKER);
  Tick();
  FollowServers();
  ASSERT_GT(Handover(), 0);
  Kill(newcomer);
  Tick();
  Settle();
  EXPECT_EQ(Map(2)->handover(), 0);
  EXPECT_THAT(Map(2)->workers(0).replicas(), ElementsAre(0, 1));
}

TEST_F(HandoverTest, ATakeoverOfShardsInTheMidstKeepsIt) {
  backups_ = 1;
  BeginAndAdopt(2, 1);
  StepUntilQuiet();
  processes_[1].newest_version = processes_[2].newest_version = 4;
  Join(wire::WORKER);
  Tick();
  FollowServers();
  ASSERT_EQ(Handover(), 7);
  const wire::ClusterMap before = Newest();
  Kill(1);
  Tick();
  ASSERT_GT(Status().term(), before.term());
  ASSERT_EQ(Status().rewind(), 0);
  EXPECT_EQ(Handover(), 7);
  EXPECT_EQ(Newest().workers_size(), 2);
  StepUntilQuiet();
  const int third = Join(wire::SERVER);
  StepUntilQuiet();
  EXPECT_FALSE(Primaries(third).empty());
  EXPECT_EQ(Handover(), 0) << "it is over";
}

TEST_F(HandoverTest, ARewindForgetsIt) {
  BeginAndAdopt(1, 1);
  Join(wire::WORKER);
  Tick();
  FollowServers();
  ASSERT_GT(Handover(), 0);
  Kill(1);
  Join(wire::SERVER);
  Tick();
  state_->SetRestore(At(4), {}, now_);
  ASSERT_EQ(Status().rewind(), 1);
  EXPECT_EQ(Handover(), 0);
  FollowServers();
  EXPECT_EQ(Handover(), 0);
}

TEST_F(HandoverTest, ARestartedCoordinatorTellsTheSameOne) {
  BeginAndAdopt(1, 1);
  const int newcomer = Join(wire::WORKER);
  Tick();
  Restart();
  EXPECT_FALSE(Map(newcomer).ok()) << "it is still to be agreed on";
  processes_[1].newest_version = 2;
  FollowServers();
  ASSERT_EQ(Handover(), 5);
  Restart();
  processes_[1].newest_version = 4;
  EXPECT_FALSE(Map(newcomer).ok());
  FollowServers();
  EXPECT_EQ(Map(newcomer)->handover(), 5);
}

TEST_F(HandoverTest, RefusesAJournalWithOneThatCannotBe) {
  BeginAndAdopt(1, 1);
  wire::JournalState journal;
  ASSERT_TRUE(journal.ParseFromString(state_->ToJournal(now_)));
  for (const int64_t handover : {-1, 9}) {
    journal.mutable_map()->set_handover(handover);
    EXPECT_EQ(JobState(Plan(), now_).FromJournal(journal.SerializeAsString(), now_).code(),
              absl::StatusCode::kDataLoss);
  }
}

TEST_F(HandoverTest, WhoStillRunsAReplicaIsHeardUpToTheHandover) {
  BeginAndAdopt(1, 1);
  processes_[1].newest_version = 2;
  Join(wire::WORKER);
  Tick();
  FollowServers();
  Train(2, {0, 1}, 5);
  EXPECT_EQ(Status().replica_status(1).clock(), 5);
  Train(2, {0, 1}, 6);
  EXPECT_EQ(Status().replica_status(0).clock(), 6);
  EXPECT_EQ(Status().replica_status(1).clock(), 5) << "it is not its replica there";
}

TEST_F(HandoverTest, AWorkerThatDrainsMayLeaveOnceOthersRunItsReplicas) {
  BeginAndAdopt(1, 2);
  processes_[3].draining = true;
  EXPECT_FALSE(Beat(3).may_leave());
  EXPECT_THAT(Messages("drain"),
              ElementsAre("worker 1 (pid 103, here) is to leave: what it has goes to others first"));
  Tick();
  FollowServers();
  EXPECT_GT(Handover(), 0);
  Follow(2);
  EXPECT_THAT(Map(2)->workers(0).replicas(), ElementsAre(0, 1));
  EXPECT_FALSE(Beat(3).may_leave()) << "it runs its replica up to there";
  Follow(3);
  EXPECT_TRUE(Beat(3).may_leave());
  wire::HeartbeatRequest last = Heartbeat(3);
  last.set_leaving(true);
  Send(last);
  processes_[3].up = false;
  const int64_t term = Status().term();
  Tick();
  EXPECT_EQ(Status().term(), term) << "nothing changes any more";
  EXPECT_THAT(Messages("parked"), IsEmpty());
}

TEST_F(HandoverTest, TheLastWorkerThatDrainsLeavesAndTrainingIsParked) {
  BeginAndAdopt(1, 1);
  processes_[2].draining = true;
  EXPECT_TRUE(Beat(2).may_leave());
  wire::HeartbeatRequest last = Heartbeat(2);
  last.set_leaving(true);
  Send(last);
  processes_[2].up = false;
  Tick();
  EXPECT_THAT(Messages("parked"), ElementsAre("training is parked, waiting for a worker"));
}

TEST_F(HandoverTest, AWorkerThatDrainsInAnotherModeLeavesAtOnce) {
  consistency_ = {.mode = "async", .group = 1};
  BeginAndAdopt(1, 2);
  processes_[3].draining = true;
  Beat(3);
  Tick();
  Settle();
  EXPECT_EQ(Map(2)->handover(), 0);
  EXPECT_THAT(Map(2)->workers(0).replicas(), ElementsAre(0, 1));
  EXPECT_TRUE(Beat(3).may_leave());
}

TEST_F(HandoverTest, AWorkerThatDrainsBeforeTheStartLeavesAtOnceAndIsNotCounted) {
  state_ = std::make_unique<JobState>(Plan(), now_, options_);
  const int leaver = Join(wire::WORKER);
  processes_[leaver].draining = true;
  EXPECT_TRUE(Beat(leaver).may_leave());
  Join(wire::SERVER);
  Tick();
  EXPECT_EQ(state_->phase(), JobPhase::kWaiting);
}

}  // namespace
}  // namespace tessera
