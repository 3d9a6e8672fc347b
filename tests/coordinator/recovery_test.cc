// How a job gets over deaths, joins and restarts, as scripts: docs/adr/0009-recovery.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "coordinator/job_state.h"
#include "tests/coordinator/recovery_fixture.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

TEST_F(RecoveryTest, WorkersHearOfAMapOnceEveryServerHasAdoptedIt) {
  Begin(2, 1);
  EXPECT_GT(Beat(1).term(), 0);
  EXPECT_EQ(Beat(3).term(), 0);
  EXPECT_EQ(Map(3).status().code(), absl::StatusCode::kUnavailable);
  Follow(1);
  EXPECT_EQ(Beat(3).term(), 0);
  EXPECT_EQ(Beat(3).next_heartbeat_ms(), 30);
  Follow(2);
  EXPECT_GT(Beat(3).term(), 0);
  Follow(3);
  EXPECT_EQ(Beat(3).next_heartbeat_ms(), 0) << "everybody has adopted it";
}

TEST_F(RecoveryTest, ADeadWorkersReplicasGoToTheLivingAndNothingGoesBack) {
  BeginAndAdopt(1, 2);
  Train(2, {0}, 3);
  Train(3, {1}, 3);
  const int64_t term = Status().term();
  processes_[3].up = false;
  Pass(absl::Milliseconds(2750));
  EXPECT_EQ(Status().term(), term);
  EXPECT_EQ(Beat(2).next_heartbeat_ms(), 30) << "somebody has missed two heartbeats";
  Pass(absl::Milliseconds(250));
  EXPECT_GT(Status().term(), term);
  EXPECT_EQ(Status().rewind(), 0);
  EXPECT_EQ(Status().step(), 3);
  EXPECT_THAT(Messages("death"),
              ElementsAre("worker 1 (pid 103, here) died: no heartbeat for 3.0 s (lease 3s)"));
  EXPECT_THAT(Messages("takeover"), ElementsAre("worker 0 (pid 102, here) takes over replica 1"));
  Settle();
  EXPECT_THAT(Map(2)->workers(0).replicas(), ElementsAre(0, 1));
  Beat(3);
  EXPECT_EQ(last_status_.code(), absl::StatusCode::kNotFound) << "it was declared dead";
}

TEST_F(RecoveryTest, SaysWhenTrainingWentOnAndHowLongItStoodStill) {
  BeginAndAdopt(1, 2);
  Train(2, {0}, 3);
  Train(3, {1}, 3);
  processes_[3].up = false;
  Pass(absl::Seconds(3));
  Settle();
  Pass(absl::Milliseconds(250));
  Train(2, {0, 1}, 3, 3);
  EXPECT_THAT(Messages("resumed"), IsEmpty());
  Pass(absl::Milliseconds(250));
  Train(2, {0, 1}, 4, 3);
  EXPECT_THAT(Messages("resumed"),
              ElementsAre("training goes on at step 4: recovered 0.5 s after it was noticed, "
                          "3.5 s without progress"));
  Train(2, {0, 1}, 5, 3);
  EXPECT_THAT(Messages("resumed"), testing::SizeIs(1));
}

TEST_F(RecoveryTest, SeveralChangesWithinOneTickMakeOneMap) {
  BeginAndAdopt(1, 2);
  const int64_t term = Status().term();
  Kill(3);
  Join(wire::WORKER);
  Join(wire::WORKER);
  EXPECT_EQ(Status().term(), term);
  Tick();
  EXPECT_EQ(Status().term(), term + 1);
  Tick();
  EXPECT_EQ(Status().term(), term + 1);
}

TEST_F(RecoveryTest, AWorkerThatJoinsGetsReplicas) {
  BeginAndAdopt(1, 1);
  const int newcomer = Join(wire::WORKER);
  Tick();
  Settle();
  const auto map = Map(newcomer);
  ASSERT_TRUE(map.ok()) << map.status();
  ASSERT_EQ(map->workers_size(), 2);
  EXPECT_THAT(map->workers(0).replicas(), ElementsAre(0));
  EXPECT_THAT(map->workers(1).replicas(), ElementsAre(1));
  EXPECT_EQ(map->workers(1).incarnation(), "incarnation-3");
  EXPECT_EQ(map->rewind(), 0);
}

TEST_F(RecoveryTest, AWorkerThatLeavesHandsItsReplicasOver) {
  BeginAndAdopt(1, 2);
  wire::HeartbeatRequest last = Heartbeat(3);
  last.set_leaving(true);
  Send(last);
  processes_[3].up = false;
  Tick();
  EXPECT_THAT(Messages("leave"), ElementsAre("worker 1 (pid 103, here) left"));
  EXPECT_THAT(Messages("takeover"), testing::SizeIs(1));
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
}

TEST_F(RecoveryTest, WithoutAWorkerTrainingIsParkedUntilOneComes) {
  BeginAndAdopt(1, 1);
  Kill(2);
  Tick();
  EXPECT_THAT(Messages("parked"), ElementsAre("training is parked, waiting for a worker"));
  const wire::HeartbeatReply reply = Beat(1);
  EXPECT_EQ(reply.phase(), wire::RUNNING);
  EXPECT_EQ(reply.message(), "waiting for a worker");
  EXPECT_EQ(reply.next_heartbeat_ms(), 0) << "nobody is in a hurry";
  Pass(absl::Seconds(60));
  EXPECT_THAT(Messages("parked"), testing::SizeIs(1));
  const int newcomer = Join(wire::WORKER);
  Tick();
  Settle();
  EXPECT_TRUE(Map(newcomer).ok());
  Train(newcomer, {0, 1}, 1);
  EXPECT_THAT(Messages("resumed"), testing::SizeIs(1));
}

TEST_F(RecoveryTest, ALostServerIsARewindToTheNewestCheckpoint) {
  BeginAndAdopt(2, 1);
  Train(3, {0, 1}, 5);
  Kill(2);
  EXPECT_FALSE(state_->restore_wanted());
  Tick();
  EXPECT_TRUE(state_->restore_wanted());
  const int successor = Join(wire::SERVER);
  Tick();
  EXPECT_EQ(Status().rewind(), 0) << "nobody knows yet what from";
  EXPECT_EQ(Beat(1).next_heartbeat_ms(), 30);
  state_->SetRestore(At(4), {"/checkpoints/step-5: part-1: the SHA-256 differs"}, now_);
  EXPECT_FALSE(state_->restore_wanted());
  EXPECT_EQ(Status().rewind(), 1);
  EXPECT_EQ(Status().step(), 4);
  EXPECT_THAT(Messages("warning"), ElementsAre(HasSubstr("passed over: /checkpoints/step-5: part-1")));
  EXPECT_THAT(Messages("rewind"),
              ElementsAre("training goes back to step 4, the checkpoint in "
                          "/checkpoints/step-4; 1 step to be done again by 2 servers and 1 "
                          "worker"));
  Settle();
  const auto map = Map(3);
  ASSERT_TRUE(map.ok()) << map.status();
  EXPECT_EQ(map->rewind(), 1);
  EXPECT_EQ(map->restore().clock(), 4);
  EXPECT_EQ(map->restore().folder(), "/checkpoints/step-4");
  ASSERT_EQ(map->servers_size(), 2);
  EXPECT_EQ(map->servers(1).node_id(), processes_[successor].node_id);
  EXPECT_EQ(map->servers(1).index(), 1);
  EXPECT_EQ(map->servers(1).incarnation(), absl::StrCat("incarnation-", successor));
  const RunSummary summary = state_->Summary("done", now_);
  EXPECT_EQ(summary.rewinds, 1);
  EXPECT_EQ(summary.recomputed_steps, 1);
}

TEST_F(RecoveryTest, WithoutACheckpointARewindGoesToTheStart) {
  BeginAndAdopt(1, 1);
  Train(2, {0, 1}, 5);
  Kill(1);
  Join(wire::SERVER);
  Tick();
  state_->SetRestore(At(0), {}, now_);
  EXPECT_EQ(Status().rewind(), 1);
  EXPECT_EQ(Status().step(), 0);
  Settle();
  EXPECT_FALSE(Map(2)->has_restore());
}

TEST_F(RecoveryTest, AfterALeaseItGoesOnWithTheServersThatAreThere) {
  BeginAndAdopt(2, 1);
  Kill(2);
  Tick();
  state_->SetRestore(At(4), {}, now_);
  Pass(absl::Milliseconds(2750));
  EXPECT_EQ(Status().rewind(), 0);
  EXPECT_EQ(Beat(3).message(), "waiting for 1 of 2 servers");
  Pass(absl::Milliseconds(250));
  EXPECT_EQ(Status().rewind(), 1);
  Settle();
  ASSERT_EQ(Map(3)->servers_size(), 1);
  EXPECT_THAT(Map(3)->servers(0).shards(), ElementsAre(0, 1));
}

TEST_F(RecoveryTest, WithoutAServerItIsParkedAndWaitsALeaseFromTheFirstThatComes) {
  BeginAndAdopt(2, 1);
  Kill(1);
  Kill(2);
  Tick();
  state_->SetRestore(At(4), {}, now_);
  EXPECT_THAT(Messages("parked"), ElementsAre("training is parked, waiting for a server"));
  Pass(absl::Seconds(60));
  Join(wire::SERVER);
  Pass(absl::Seconds(3));
  EXPECT_EQ(Status().rewind(), 0) << "the other may still come";
  Pass(absl::Milliseconds(250));
  EXPECT_EQ(Status().rewind(), 1);
}

TEST_F(RecoveryTest, AServerWithNothingToMoveOntoItStaysSpareUntilOneIsLost) {
  BeginAndAdopt(2, 1);  // a shard each
  const int64_t term = Status().term();
  const int spare = Join(wire::SERVER);
  Tick();
  EXPECT_EQ(Status().term(), term);
  EXPECT_THAT(Messages("join").back(), HasSubstr("spare"));
  Kill(1);
  Tick();
  state_->SetRestore(At(0), {}, now_);
  Settle();
  EXPECT_THAT(Primaries(2), SizeIs(1));
  EXPECT_THAT(Primaries(spare), SizeIs(1));
}

TEST_F(RecoveryTest, AServerThatDiesWhileWeightsAreCollectedIsARewindToo) {
  BeginAndAdopt(1, 1);
  Train(2, {0, 1}, 8);
  wire::ReportEvaluationRequest evaluation = EvaluationOf(2, 8, 0, 20, 7);
  ASSERT_TRUE(state_->ReportEvaluation(evaluation, now_).ok());
  ASSERT_EQ(state_->phase(), JobPhase::kFinishing);
  Kill(1);
  Join(wire::SERVER);
  Tick();
  state_->SetRestore(At(4), {}, now_);
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  EXPECT_FALSE(state_->Succeed(now_));
  Settle();
  Train(2, {0, 1}, 8, 4);
  EXPECT_EQ(state_->phase(), JobPhase::kFinishing) << "in sync the evaluation stands";
}

TEST_F(RecoveryTest, AWorkerThatDiesWhileWeightsAreCollectedIsNotMissed) {
  BeginAndAdopt(1, 1);
  Train(2, {0, 1}, 8);
  ASSERT_TRUE(state_->ReportEvaluation(EvaluationOf(2, 8, 0, 20, 7), now_).ok());
  const int64_t term = Status().term();
  Kill(2);
  Pass(absl::Seconds(4));
  EXPECT_EQ(Status().term(), term);
  EXPECT_EQ(state_->phase(), JobPhase::kFinishing);
  EXPECT_TRUE(state_->Succeed(now_));
}

TEST_F(RecoveryTest, ReportsOfAnotherTimelineOrOfOthersReplicasAreIgnored) {
  BeginAndAdopt(1, 2);
  Train(2, {1}, 7);  // which worker 3 runs
  EXPECT_EQ(Status().replica_status(1).clock(), 0);
  Train(2, {0}, 5);
  Kill(1);
  Join(wire::SERVER);
  Tick();
  state_->SetRestore(At(0), {}, now_);
  Train(2, {0}, 6);  // it has not heard yet
  EXPECT_EQ(Status().replica_status(0).clock(), 0);
  Settle();
  Train(2, {0}, 1);
  EXPECT_EQ(Status().replica_status(0).clock(), 1);
}

TEST_F(RecoveryTest, TheFailureOfANodeThatHasNotBegunDropsOnlyThatNode) {
  BeginAndAdopt(1, 1);
  const int newcomer = Join(wire::WORKER);
  Tick();
  ASSERT_TRUE(Fail(newcomer).ok());
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  EXPECT_THAT(Messages("failure"), ElementsAre("worker 1 (pid 103, here): bad data"));
  processes_[newcomer].up = false;
  Tick();
  Settle();
  EXPECT_THAT(Map(2)->workers(0).replicas(), ElementsAre(0, 1));
  ASSERT_TRUE(Fail(2).ok());
  EXPECT_EQ(state_->phase(), JobPhase::kFailed) << "of one that runs, it is the job's";
  EXPECT_EQ(state_->failure(), "worker 0 (pid 102, here): bad data");
}

TEST_F(RecoveryTest, TheFailureOfAServerThatCannotRestoreDropsThatServer) {
  BeginAndAdopt(1, 1);
  Kill(1);
  const int successor = Join(wire::SERVER);
  Tick();
  state_->SetRestore(At(4), {}, now_);
  ASSERT_TRUE(Fail(successor).ok());
  processes_[successor].up = false;
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  Tick();
  EXPECT_TRUE(state_->restore_wanted()) << "what it could not read is looked at again";
}

TEST_F(RecoveryTest, WhoDiesBeforeTheStartIsWaitedForAgain) {
  state_ = std::make_unique<JobState>(MakeTestPlan(1, 1), now_);
  Join(wire::WORKER);
  Kill(1);
  Pass(absl::Seconds(4));
  Join(wire::SERVER);
  EXPECT_EQ(state_->phase(), JobPhase::kWaiting);
  EXPECT_THAT(Beat(2).message(), HasSubstr("waiting for 1 of 1 worker"));
  Join(wire::WORKER);
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
}

TEST_F(RecoveryTest, AnUnknownExitIsNoError) {
  BeginAndAdopt(1, 1);
  wire::ReportExitRequest request;
  request.set_host("elsewhere");
  request.set_pid(101);
  EXPECT_TRUE(state_->ReportExit(request, now_).ok());
  EXPECT_TRUE(Beat(1).term() > 0);
  Kill(2);
  EXPECT_THAT(Messages("death"), ElementsAre("worker 0 (pid 102, here) died: killed by signal 9"));
}

TEST_F(RecoveryTest, ACoordinatorThatStoodStillDeclaresNobodyDead) {
  BeginAndAdopt(1, 1);
  Pass(absl::Seconds(1));
  for (auto& [number, process] : processes_) process.up = false;
  now_ += absl::Seconds(60);  // stopped, or swapped out: no heartbeat could be taken
  Tick();
  EXPECT_THAT(Messages("death"), IsEmpty());
  Pass(absl::Milliseconds(2750));
  EXPECT_THAT(Messages("death"), IsEmpty());
  Pass(absl::Milliseconds(250));
  EXPECT_THAT(Messages("death"), testing::SizeIs(2)) << "what was left of the lease counts";
}

TEST_F(RecoveryTest, MinibatchesThatWereComputedTwiceAreOneClock) {
  BeginAndAdopt(1, 2);
  const auto report = [&](int number, int64_t clock, int64_t first_clock, int64_t count) {
    wire::HeartbeatRequest request = Heartbeat(number);
    AddReplica(&request, 1, clock);
    request.mutable_replicas(0)->set_first_clock(first_clock);
    request.mutable_replicas(0)->set_loss_sum(static_cast<double>(count));
    request.mutable_replicas(0)->set_loss_count(count);
    request.set_training_seconds(1);
    if (first_clock > 0) request.add_recomputed(first_clock);
    request.set_retries(2);
    Send(request);
    ASSERT_TRUE(last_status_.ok()) << last_status_;
  };
  report(3, 3, 0, 3);
  Kill(3);
  Tick();
  Settle();
  report(2, 3, 2, 1);  // the last one again
  EXPECT_EQ(Status().replica_status(1).clock(), 3);
  EXPECT_DOUBLE_EQ(Status().train_loss(), 1);
  EXPECT_DOUBLE_EQ(Status().images_per_second(), 3 * 5 / 1.0);
  EXPECT_EQ(Status().recomputed_steps(), 1);
  EXPECT_EQ(state_->Summary("done", now_).retries, 4) << "the dead one's count too";
}

TEST_F(RecoveryTest, AStepCountsOnceHoweverManyComputeItAgainAndHoweverOftenTheySay) {
  BeginAndAdopt(2, 2);
  const auto again = [&](int number, std::vector<int64_t> clocks) {
    wire::HeartbeatRequest request = Heartbeat(number);
    request.mutable_recomputed()->Assign(clocks.begin(), clocks.end());
    Send(request);
  };
  again(3, {2});
  again(3, {2});
  again(4, {2, 5});
  EXPECT_EQ(Status().recomputed_steps(), 2);
  Train(3, {0}, 6);
  Restart();
  EXPECT_EQ(Status().recomputed_steps(), 2) << "the journal has it";
  again(4, {2, 5});
  EXPECT_EQ(Status().recomputed_steps(), 2);

  Kill(1);
  Tick();
  state_->SetRestore(At(4), {}, now_);
  Join(wire::SERVER);
  Tick();
  EXPECT_EQ(Status().recomputed_steps(), 4) << "and what a rewind loses";
  again(4, {2, 5});
  EXPECT_EQ(Status().recomputed_steps(), 4) << "it is of the timeline of before";
  Settle();
  again(4, {5});
  EXPECT_EQ(Status().recomputed_steps(), 5) << "on this timeline it is another step";
  Restart();
  EXPECT_EQ(state_->Summary("done", now_).recomputed_steps, 5);
}

TEST_F(RecoveryTest, RefusesStepsComputedAgainThatCannotBe) {
  BeginAndAdopt(1, 1);
  const auto refused = [&](const std::vector<int64_t>& clocks) {
    wire::HeartbeatRequest request = Heartbeat(2);
    request.mutable_recomputed()->Assign(clocks.begin(), clocks.end());
    Send(request);
    return absl::IsInvalidArgument(last_status_);
  };
  EXPECT_TRUE(refused({-1}));
  EXPECT_TRUE(refused({8})) << "the job ends there";
  EXPECT_TRUE(refused(std::vector<int64_t>(1000, 1)));
  EXPECT_FALSE(refused({7}));
  wire::HeartbeatRequest request = Heartbeat(1);
  request.set_newest_version(9);
  Send(request);
  EXPECT_EQ(last_status_.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Status().recomputed_steps(), 1);
}

TEST_F(RecoveryTest, ACheckpointIsWholeWhenEveryShardIsThere) {
  BeginAndAdopt(2, 1);
  ASSERT_TRUE(Part(1, 4, {0}).ok());
  ASSERT_TRUE(Part(1, 4, {0}).ok());
  EXPECT_FALSE(state_->TakeWholeCheckpoint().has_value());
  EXPECT_EQ(Part(2, 4, {0}).code(), absl::StatusCode::kInvalidArgument) << "another's shard";
  EXPECT_EQ(Part(2, 4, {1}, /*rewind=*/1).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_TRUE(Part(2, 4, {1}).ok());
  const auto whole = state_->TakeWholeCheckpoint();
  ASSERT_TRUE(whole.has_value());
  EXPECT_EQ(whole->clock, 4);
  EXPECT_EQ(whole->files.size(), 2u);
  EXPECT_FALSE(state_->TakeWholeCheckpoint().has_value());
  EXPECT_EQ(Status().checkpoint_step(), 0);
  state_->OnCheckpoint(4, "/c/step-4", absl::OkStatus(), now_);
  EXPECT_EQ(Status().checkpoint_step(), 4);
  EXPECT_EQ(Status().checkpoint_folder(), "/c/step-4");
  EXPECT_THAT(Messages("checkpoint"), ElementsAre("checkpoint at step 4 in /c/step-4"));
}

TEST_F(RecoveryTest, AFailedPartCostsTheCheckpointAndNothingElse) {
  BeginAndAdopt(2, 1);
  ASSERT_TRUE(Part(1, 4, {0}).ok());
  ASSERT_TRUE(PartFailed(2, 4, "no space left on device").ok());
  ASSERT_TRUE(PartFailed(2, 4, "no space left on device").ok());
  EXPECT_THAT(Messages("checkpoint failed"),
              ElementsAre("the checkpoint at step 4 failed: server 1: no space left on device"));
  ASSERT_TRUE(Part(2, 4, {1}).ok());
  EXPECT_FALSE(state_->TakeWholeCheckpoint().has_value());
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  ASSERT_TRUE(Part(1, 8, {0}).ok());
  ASSERT_TRUE(Part(2, 8, {1}).ok());
  EXPECT_TRUE(state_->TakeWholeCheckpoint().has_value());
}

TEST_F(RecoveryTest, ACheckpointOutOfTurnIsTwoStepsAheadAndLaterWhereAServerHasPassedIt) {
  BeginAndAdopt(1, 1);
  EXPECT_EQ(Beat(1).checkpoint_clock(), 0);
  Train(2, {0}, 2);
  wire::TakeCheckpointReply reply;
  ASSERT_TRUE(state_->TakeCheckpoint(&reply).ok());
  EXPECT_EQ(reply.clock(), 4);
  EXPECT_EQ(Beat(1).checkpoint_clock(), 4);
  EXPECT_EQ(Beat(2).checkpoint_clock(), 0) << "workers do nothing for it";
  ASSERT_TRUE(PartFailed(1, 4, "passed").ok());
  EXPECT_EQ(Beat(1).checkpoint_clock(), 6);
  EXPECT_THAT(Messages("checkpoint failed"), IsEmpty());
  ASSERT_TRUE(Part(1, 6, {0, 1}).ok());
  EXPECT_EQ(Beat(1).checkpoint_clock(), 0);
  Train(2, {0}, 7);
  EXPECT_EQ(state_->TakeCheckpoint(&reply).code(), absl::StatusCode::kFailedPrecondition)
      << "the job ends at 8";
}

TEST_F(RecoveryTest, TakesACheckpointEverySoOften) {
  Begin(1, 1, {.checkpoint_every = absl::Seconds(10)});
  Settle();
  Pass(absl::Seconds(10));
  EXPECT_EQ(Beat(1).checkpoint_clock(), 0);
  Pass(absl::Milliseconds(500));
  EXPECT_EQ(Beat(1).checkpoint_clock(), 2);
}

TEST_F(RecoveryTest, NothingIsAnnouncedBeforeItIsJournaled) {
  Begin(1, 1, {.journaled = true});
  EXPECT_EQ(Beat(1).term(), 0);
  EXPECT_EQ(Map(1).status().code(), absl::StatusCode::kUnavailable);
  state_->OnJournaled(state_->changes());
  Settle();
  EXPECT_GT(processes_[2].term, 0);
  EXPECT_EQ(state_->ReportEvaluation(EvaluationOf(2, 4, 0, 20, 7), now_).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(Part(1, 4, {0, 1}).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Part(1, 4, {0, 1}).code(), absl::StatusCode::kUnavailable) << "asked again too early";
  state_->OnJournaled(state_->changes());
  EXPECT_TRUE(state_->ReportEvaluation(EvaluationOf(2, 4, 0, 20, 7), now_).ok());
  EXPECT_TRUE(Part(1, 4, {0, 1}).ok());

  const int newcomer = Join(wire::WORKER);
  const int64_t before = processes_[1].term;
  Tick();
  EXPECT_EQ(Beat(1).term(), before);
  EXPECT_EQ(Beat(newcomer).term(), 0);
  state_->OnJournaled(state_->changes());
  EXPECT_GT(Beat(1).term(), before);
}

TEST_F(RecoveryTest, ARestartedCoordinatorKnowsItsNodesAndTrainingGoesOn) {
  BeginAndAdopt(1, 2);
  Train(2, {0}, 3);
  ASSERT_TRUE(state_->ReportEvaluation(EvaluationOf(2, 4, 0, 20, 7), now_).ok());
  ASSERT_TRUE(Part(1, 4, {0, 1}).ok());
  const int64_t term = Status().term();
  now_ += absl::Seconds(20);
  Restart();
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  EXPECT_EQ(Status().term(), term);
  EXPECT_THAT(Messages("restart"),
              ElementsAre("the coordinator was started again, at step 0; 3 nodes are known"));
  EXPECT_THAT(Messages("join"), testing::SizeIs(3));
  EXPECT_TRUE(state_->TakeWholeCheckpoint().has_value()) << "its manifest had not been written";
  Pass(absl::Seconds(1));
  EXPECT_EQ(Status().term(), term) << "nothing has changed";
  Train(2, {0}, 4);
  Train(3, {1}, 4);
  EXPECT_EQ(Status().epochs_done_size(), 1);
  Kill(3);
  Tick();
  EXPECT_EQ(Status().term() >> 32, 1) << "a new epoch";
  EXPECT_GT(Status().term(), term);
}

TEST_F(RecoveryTest, ARestartedCoordinatorDeclaresNobodyDeadBeforeALease) {
  BeginAndAdopt(1, 1);
  Restart();
  processes_[2].up = false;
  Pass(absl::Milliseconds(2750));
  EXPECT_THAT(Messages("death"), IsEmpty());
  Pass(absl::Milliseconds(250));
  EXPECT_THAT(Messages("death"), testing::SizeIs(1));
}

TEST_F(RecoveryTest, NodeIdsNeverRepeatOverRestarts) {
  BeginAndAdopt(1, 1);
  const std::string journal = state_->ToJournal(now_);
  const int lost = Join(wire::WORKER);  // the coordinator dies before that is journaled
  state_ = std::make_unique<JobState>(MakeTestPlan(1, 1), now_);
  ASSERT_TRUE(state_->FromJournal(journal, now_).ok());
  const int newcomer = Join(wire::WORKER);
  EXPECT_NE(processes_[newcomer].node_id, processes_[lost].node_id);
  Beat(lost);
  EXPECT_EQ(last_status_.code(), absl::StatusCode::kNotFound);
}

TEST_F(RecoveryTest, AfterAPowerCutNewNodesGoOnFromTheCheckpoint) {
  BeginAndAdopt(2, 1);
  Train(3, {0, 1}, 6);
  Restart();
  for (auto& [number, process] : processes_) process.up = false;
  Pass(absl::Seconds(3));
  EXPECT_THAT(Messages("parked"), ElementsAre("training is parked, waiting for a server"));
  state_->SetRestore(At(4), {}, now_);
  Join(wire::SERVER);
  Join(wire::SERVER);
  Join(wire::WORKER);
  Tick();
  EXPECT_EQ(Status().step(), 4);
  EXPECT_EQ(Status().rewind(), 1);
  EXPECT_EQ(state_->Summary("done", now_).recomputed_steps, 2);
}

TEST_F(RecoveryTest, AStoppedJobThatIsResumedGoesOnFromTheCheckpoint) {
  BeginAndAdopt(1, 1);
  Train(2, {0, 1}, 6);
  state_->Stop("stopped by SIGINT", now_);
  Restart();
  processes_.clear();
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  Tick();
  EXPECT_TRUE(state_->restore_wanted());
  state_->SetRestore(At(4), {}, now_);
  Join(wire::SERVER);
  Join(wire::WORKER);
  Tick();
  EXPECT_EQ(Status().step(), 4);
  EXPECT_EQ(state_->Summary("done", now_).resumed_from_step, 4);
}

TEST_F(RecoveryTest, WithoutAJournalAResumedJobStartsFromTheNewestCheckpoint) {
  Begin(1, 1, {.resume = true});
  EXPECT_EQ(state_->phase(), JobPhase::kWaiting);
  EXPECT_TRUE(state_->restore_wanted());
  state_->SetRestore(At(4), {}, now_);
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  EXPECT_EQ(Status().step(), 4);
  Settle();
  EXPECT_EQ(Map(2)->restore().clock(), 4);
  EXPECT_EQ(state_->Summary("done", now_).resumed_from_step, 4);
  EXPECT_EQ(state_->Summary("done", now_).recomputed_steps, 0);
  EXPECT_THAT(Messages("restart"), ElementsAre(HasSubstr("resumed from the checkpoint at step 4")));
}

TEST_F(RecoveryTest, AnOldCopyOfTheJournalIsFoundOutByATermBeyondIt) {
  BeginAndAdopt(1, 1);
  const std::string old = state_->ToJournal(now_);
  Kill(1);
  const int successor = Join(wire::SERVER);
  Tick();
  state_->SetRestore(At(0), {}, now_);
  Settle();
  ASSERT_EQ(processes_[2].rewind, 1);
  const int64_t term =
      processes_[2].term + (int64_t{7} << 32);  // of a coordinator that was started seven times
  processes_[2].term = term;
  state_ = std::make_unique<JobState>(MakeTestPlan(1, 1), now_);
  ASSERT_TRUE(state_->FromJournal(old, now_).ok());
  Beat(2);
  Beat(successor);
  EXPECT_EQ(last_status_.code(), absl::StatusCode::kNotFound) << "it registers again";
  processes_[successor].up = false;
  Join(wire::SERVER);
  Pass(absl::Seconds(4));
  state_->SetRestore(At(0), {}, now_);
  Tick();
  EXPECT_GT(Status().term() >> 32, term >> 32);
  EXPECT_GT(Status().rewind(), 1);
}

TEST_F(RecoveryTest, RefusesAJournalOfAnotherJobNamingTheKey) {
  BeginAndAdopt(1, 1);
  JobPlan other = MakeTestPlan(1, 1);
  other.job.train.batch_size = 4;
  JobState next(std::move(other), now_);
  const absl::Status status = next.FromJournal(state_->ToJournal(now_), now_);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("train.batch_size was `5` and is now `4`"));
  EXPECT_EQ(JobState(MakeTestPlan(1, 1), now_).FromJournal("\xff\xff\xff", now_).code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(RecoveryTest, AResumedJobMayHaveAnotherCluster) {
  BeginAndAdopt(2, 1);
  JobState next(MakeTestPlan(1, 2), now_);
  EXPECT_TRUE(next.FromJournal(state_->ToJournal(now_), now_).ok());
}

TEST_F(RecoveryTest, RefusesTermsThatNoCoordinatorGives) {
  BeginAndAdopt(1, 1);
  for (const int64_t term : {int64_t{-1}, INT64_MAX}) {
    wire::HeartbeatRequest request = Heartbeat(2);
    request.set_term(term);
    Send(request);
    EXPECT_EQ(last_status_.code(), absl::StatusCode::kInvalidArgument);
  }
  wire::HeartbeatRequest request = Heartbeat(2);
  request.set_rewind(INT64_MAX);
  Send(request);
  EXPECT_EQ(last_status_.code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera
