// How shards are taken over, copied and moved, as scripts: docs/adr/0011-replication.md.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "coordinator/job_state.h"
#include "tests/coordinator/recovery_fixture.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::MatchesRegex;
using testing::SizeIs;

// Servers are 1.., workers follow.
class ReplicationTest : public RecoveryTest {
 protected:
  void BeginWith(int32_t backups, int32_t servers, int32_t workers) {
    backups_ = backups;
    BeginAndAdopt(servers, workers);
  }
  void Leave(int number) {
    wire::HeartbeatRequest last = Heartbeat(number);
    last.set_leaving(true);
    Send(last);
    processes_[number].up = false;
  }
};

TEST_F(ReplicationTest, TheFirstMapHasBackupsOnOtherServers) {
  BeginWith(1, 2, 1);
  EXPECT_THAT(Primaries(1), ElementsAre(0));
  EXPECT_THAT(Backups(1), ElementsAre(1));
  EXPECT_THAT(Primaries(2), ElementsAre(1));
  EXPECT_THAT(Backups(2), ElementsAre(0));
}

TEST_F(ReplicationTest, ABackupTakesOverAndNothingGoesBack) {
  BeginWith(1, 2, 1);
  Train(3, {0, 1}, 5);
  const int64_t term = Status().term();
  processes_[1].up = false;
  Pass(absl::Seconds(3));
  EXPECT_EQ(Status().term(), term + 1);
  EXPECT_EQ(Status().rewind(), 0);
  EXPECT_EQ(Status().step(), 5);
  EXPECT_FALSE(state_->restore_wanted());
  EXPECT_EQ(state_->waiting(), "");
  EXPECT_THAT(Primaries(2), ElementsAre(0, 1));
  EXPECT_THAT(
      Messages("takeover"),
      ElementsAre(MatchesRegex("server 1 \\(pid 102, 127.0.0.1:4002\\) takes over 1 shard, [0-9]+ B, from "
                               "server 0, last heard of 3.0 s ago")));
  EXPECT_THAT(Messages("warning"), ElementsAre(HasSubstr("shards have 0 of 1 backup on 1 server")));
  Settle();
  Train(3, {0, 1}, 6);
  EXPECT_THAT(Messages("resumed"), SizeIs(1));
}

TEST_F(ReplicationTest, TheDeathOfABackupIsANewMapToo) {
  BeginWith(1, 3, 1);
  // Two shards: the third server has a backup at most.
  const int idle = Primaries(3).empty() ? 3 : 1;
  const int64_t term = Status().term();
  Kill(idle);
  Tick();
  EXPECT_EQ(Status().term(), term + 1) << "who forwards waits for it";
  EXPECT_EQ(Status().rewind(), 0);
  EXPECT_EQ(Entry(idle), nullptr);
}

TEST_F(ReplicationTest, WhereAShardIsLostItIsARewind) {
  BeginWith(1, 2, 1);
  Kill(1);
  Kill(2);
  Join(wire::SERVER);
  Join(wire::SERVER);
  Tick();
  EXPECT_TRUE(state_->restore_wanted());
  state_->SetRestore(At(4), {}, now_);
  EXPECT_EQ(Status().rewind(), 1);
  EXPECT_THAT(Messages("takeover"), IsEmpty());
  Settle();
  EXPECT_THAT(Backups(4), SizeIs(1)) << "with backups again";
}

TEST_F(ReplicationTest, ABackupThatIsLostIsReplaced) {
  BeginWith(1, 2, 1);
  Kill(1);
  Tick();
  Settle();
  const int newcomer = Join(wire::SERVER);
  EXPECT_THAT(Messages("join").back(), HasSubstr("shards move onto it"));
  Tick();
  EXPECT_THAT(Copies(newcomer), ElementsAre(0, 1));
  EXPECT_THAT(Primaries(newcomer), IsEmpty());
  Step();
  EXPECT_THAT(Backups(newcomer), ElementsAre(0, 1));
  StepUntilQuiet();
  EXPECT_THAT(Primaries(newcomer), SizeIs(1));
  EXPECT_THAT(Backups(newcomer), SizeIs(1));
  EXPECT_THAT(Primaries(2), SizeIs(1));
  EXPECT_EQ(Status().rewind(), 0);
  EXPECT_THAT(Messages("moved"), ElementsAre(HasSubstr("copied 2 shards")));
  Kill(2);
  Tick();
  EXPECT_THAT(Primaries(newcomer), ElementsAre(0, 1));
  EXPECT_EQ(Status().rewind(), 0);
}

TEST_F(ReplicationTest, ABackupThatDoesNotAnswerItsPrimaryIsDeclaredDead) {
  BeginWith(1, 3, 1);
  ASSERT_THAT(Primaries(1), ElementsAre(0));
  const int backup = Backups(2).empty() ? 3 : 2;
  ASSERT_THAT(Backups(backup), testing::Contains(0));
  wire::HeartbeatRequest complaint = Heartbeat(1);
  complaint.add_silent(processes_[backup].node_id);
  Send(complaint);
  Tick();
  EXPECT_EQ(Entry(backup), nullptr) << "it holds training up, though we hear it";
  EXPECT_THAT(Messages("death"), ElementsAre(HasSubstr("does not answer server")));
  EXPECT_EQ(Status().rewind(), 0);
  Settle();
  Train(4, {0, 1}, 6);
}

TEST_F(ReplicationTest, NobodyIsDeclaredDeadForASilenceThatIsNoneOfTheOthersBusiness) {
  BeginWith(1, 2, 1);
  const int64_t term = Status().term();
  for (const int32_t silent : {0, 1, 3, 99, -1}) {  // nobody, itself, a worker, unknown
    wire::HeartbeatRequest complaint = Heartbeat(1);
    complaint.add_silent(silent);  // node ids are the processes' numbers here
    Send(complaint);
  }
  Kill(1);  // its shards are server 2's alone from now on
  const int newcomer = Join(wire::SERVER);
  Tick();
  wire::HeartbeatRequest complaint = Heartbeat(newcomer);
  complaint.add_silent(2);
  Send(complaint);
  complaint = Heartbeat(2);
  complaint.add_silent(newcomer);
  Send(complaint);
  Tick();
  EXPECT_THAT(Messages("death"), SizeIs(1)) << "of server 1; nobody waits for a copy";
  EXPECT_EQ(Status().term(), term + 1);
  complaint.clear_silent();
  for (int i = 0; i < 100; ++i) complaint.add_silent(newcomer);
  Send(complaint);
  EXPECT_EQ(last_status_.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ReplicationTest, AServerThatHasJoinedIsCopiedToFromTheTakeoverOn) {
  BeginWith(1, 2, 1);
  const int64_t term = Status().term();
  Kill(1);
  const int newcomer = Join(wire::SERVER);
  Tick();
  EXPECT_EQ(Status().term(), term + 1) << "shards without a backup have no time to lose";
  EXPECT_THAT(Primaries(2), ElementsAre(0, 1));
  EXPECT_THAT(Copies(newcomer), ElementsAre(0, 1));
  Settle();
  EXPECT_GT(Beat(2).next_heartbeat_ms(), 0) << "the next map comes soon";
  StepUntilQuiet();
  EXPECT_EQ(Beat(2).next_heartbeat_ms(), 0);
}

TEST_F(ReplicationTest, ANewBackupTakesOverOnlyOnceThePrimaryWaitsForIt) {
  for (const bool adopted : {false, true}) {
    SCOPED_TRACE(adopted);
    processes_.clear();
    introduced_ = 0;
    BeginWith(1, 2, 1);
    Kill(1);
    Tick();
    const int newcomer = Join(wire::SERVER);
    Settle();
    Tick();
    Settle();
    ReportCopies(2);
    Tick();
    ASSERT_THAT(Backups(newcomer), ElementsAre(0, 1));
    if (adopted) Follow(2);
    Kill(2);
    Tick();
    EXPECT_EQ(state_->restore_wanted(), !adopted) << "it may have released what the newcomer does not have";
    EXPECT_EQ(Primaries(newcomer).size(), adopted ? 2U : 0U);
  }
}

TEST_F(ReplicationTest, ACopyIsBelievedFromThePrimaryUnderTheNewestMapOnly) {
  BeginWith(0, 2, 1);
  Kill(2);
  Tick();
  state_->SetRestore(At(0), {}, now_);
  Pass(absl::Seconds(3));
  Settle();
  const int newcomer = Join(wire::SERVER);
  Tick();
  ASSERT_THAT(Copies(newcomer), SizeIs(1));
  const ShardId shard = Copies(newcomer).front();
  const auto report = [&](int from, ShardId what, int whose) {
    wire::HeartbeatRequest request = Heartbeat(from);
    wire::CopiedShard* const copy = request.add_copied();
    copy->set_shard(what);
    copy->set_node_id(processes_[whose].node_id);
    Send(request);
    Tick();
    return Backups(newcomer).size();
  };
  EXPECT_EQ(report(1, shard, newcomer), 0U) << "of the map before";
  Settle();
  EXPECT_EQ(report(newcomer, shard, newcomer), 0U) << "not from who has it";
  EXPECT_EQ(report(3, shard, newcomer), 0U) << "not from a worker";
  EXPECT_EQ(report(1, shard, 1), 0U);
  EXPECT_EQ(report(1, -1, newcomer), 0U);
  EXPECT_EQ(report(1, 99, newcomer), 0U);
  EXPECT_EQ(report(1, shard, newcomer), 1U);
  wire::HeartbeatRequest flood = Heartbeat(1);
  for (int i = 0; i < 1000; ++i) flood.add_copied();
  Send(flood);
  EXPECT_EQ(last_status_.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ReplicationTest, ShardsMoveOntoAServerThatJoinsAStepAtATime) {
  BeginWith(0, 2, 1);
  Kill(2);
  Tick();
  state_->SetRestore(At(0), {}, now_);
  Pass(absl::Seconds(3));
  Settle();
  ASSERT_THAT(Primaries(1), ElementsAre(0, 1));
  const int newcomer = Join(wire::SERVER);
  Tick();
  const int64_t term = Status().term();
  Tick();
  EXPECT_EQ(Status().term(), term) << "not before everybody has adopted the last";
  ASSERT_THAT(Copies(newcomer), SizeIs(1));
  Step();
  EXPECT_THAT(Backups(newcomer), SizeIs(1));
  EXPECT_THAT(Primaries(1), SizeIs(2));
  Step();
  EXPECT_THAT(Primaries(newcomer), SizeIs(1));
  EXPECT_THAT(Primaries(1), SizeIs(1));
  StepUntilQuiet();
  EXPECT_THAT(Backups(1), IsEmpty());
  EXPECT_THAT(Backups(newcomer), IsEmpty());
  EXPECT_EQ(Status().rewind(), 1) << "that of the loss";
  EXPECT_THAT(Messages("moved"), ElementsAre(MatchesRegex(
                                     "copied 1 shard, [0-9]+ B, and gave 1 shard, [0-9]+ B, another primary, "
                                     "in 0.0 s, while training went on")));
}

TEST_F(ReplicationTest, AServerMoreThanTheJobWantsGetsShardsToo) {
  for (const int32_t backups : {0, 1}) {
    SCOPED_TRACE(backups);
    processes_.clear();
    introduced_ = 0;
    BeginWith(backups, 1 + backups, 1);
    const int newcomer = Join(wire::SERVER);
    EXPECT_THAT(Messages("join").back(), HasSubstr("shards move onto it"));
    StepUntilQuiet();
    EXPECT_EQ(Primaries(newcomer).size() + Backups(newcomer).size(), 1U);
    EXPECT_THAT(Messages("moved"), ElementsAre(HasSubstr("copied 1 shard")));
    EXPECT_EQ(Status().rewind(), 0);
  }
}

TEST_F(ReplicationTest, AllServersThatAreThereGetShardsByTheFirstMap) {
  Begin(1, 0);
  const int second = Join(wire::SERVER);
  Join(wire::WORKER);
  Settle();
  ASSERT_EQ(state_->phase(), JobPhase::kRunning);
  EXPECT_THAT(Primaries(1), SizeIs(1));
  EXPECT_THAT(Primaries(second), SizeIs(1));
}

// A new map begins the copies anew that are under way.
TEST_F(ReplicationTest, TheNextStepWaitsForAllCopiesALeaseAtMost) {
  BeginWith(1, 2, 1);
  Kill(1);
  Tick();
  Settle();
  const int newcomer = Join(wire::SERVER);
  Tick();
  Settle();
  ASSERT_THAT(Copies(newcomer), ElementsAre(0, 1));
  wire::HeartbeatRequest request = Heartbeat(2);
  wire::CopiedShard* const copy = request.add_copied();
  copy->set_shard(1);
  copy->set_node_id(processes_[newcomer].node_id);
  Tick();
  Send(request);
  Tick();
  EXPECT_THAT(Copies(newcomer), ElementsAre(0, 1)) << "the other may come soon";
  Pass(absl::Seconds(2));
  EXPECT_THAT(Copies(newcomer), ElementsAre(0, 1));
  Pass(absl::Seconds(1));
  EXPECT_THAT(Backups(newcomer), ElementsAre(1)) << "it is not waited for for ever";
}

TEST_F(ReplicationTest, AServerThatIsToLeaveGoesWhenOthersHaveWhatItHad) {
  for (const int32_t backups : {0, 1}) {
    SCOPED_TRACE(backups);
    processes_.clear();
    introduced_ = 0;
    BeginWith(backups, 2, 1);
    processes_[1].draining = true;
    EXPECT_FALSE(Beat(1).may_leave());
    EXPECT_THAT(Messages("drain"), ElementsAre(HasSubstr("server 0 (pid 101, 127.0.0.1:4001) is to leave")));
    StepUntilQuiet();
    EXPECT_EQ(Entry(1), nullptr);
    EXPECT_THAT(Primaries(2), ElementsAre(0, 1));
    EXPECT_TRUE(Beat(1).may_leave());
    Leave(1);
    Tick();
    EXPECT_EQ(Status().rewind(), 0);
    EXPECT_FALSE(state_->restore_wanted());
    EXPECT_EQ(state_->waiting(), "");
  }
}

TEST_F(ReplicationTest, ASpareTakesThePlaceOfAServerThatIsToLeave) {
  BeginWith(0, 2, 1);
  const int spare = Join(wire::SERVER);
  Tick();
  ASSERT_EQ(Entry(spare), nullptr);
  processes_[1].draining = true;
  Beat(1);
  StepUntilQuiet();
  EXPECT_THAT(Primaries(spare), SizeIs(1));
  EXPECT_TRUE(Beat(1).may_leave());
}

TEST_F(ReplicationTest, AServerThatNobodyCanReplaceMayLeaveAtOnce) {
  BeginWith(0, 1, 1);
  EXPECT_FALSE(Beat(1).may_leave());
  processes_[1].draining = true;
  EXPECT_TRUE(Beat(1).may_leave());
}

TEST_F(ReplicationTest, NobodyMayLeaveBeforeItIsJournaled) {
  backups_ = 1;
  Begin(2, 1, {.journaled = true});
  state_->OnJournaled(state_->changes());
  Settle();
  processes_[1].draining = true;
  Beat(1);
  Tick();
  state_->OnJournaled(state_->changes());
  for (int step = 0; step < 20 && Entry(1) != nullptr; ++step) {
    state_->OnJournaled(state_->changes());
    Step();
  }
  ASSERT_EQ(Entry(1), nullptr);
  EXPECT_FALSE(Beat(1).may_leave());
  state_->OnJournaled(state_->changes());
  EXPECT_TRUE(Beat(1).may_leave());
}

TEST_F(ReplicationTest, ATakeoverNeedsNoWorkersWhileWeightsAreCollected) {
  BeginWith(1, 2, 1);
  Train(3, {0, 1}, 8);
  ASSERT_TRUE(state_->ReportEvaluation(EvaluationOf(3, 8, 0, 20, 7), now_).ok());
  ASSERT_EQ(state_->phase(), JobPhase::kFinishing);
  Kill(3);
  Kill(1);
  Tick();
  EXPECT_EQ(state_->phase(), JobPhase::kFinishing);
  EXPECT_EQ(state_->waiting(), "");
  ASSERT_THAT(state_->Servers(), SizeIs(1));
  EXPECT_THAT(state_->Servers()[0].shards, ElementsAre(0, 1));
  EXPECT_EQ(Status().rewind(), 0);
}

TEST_F(ReplicationTest, ACheckpointIsWholeThoughAShardWasTakenOverInItsMiddle) {
  for (const bool heir_has_both : {false, true}) {
    SCOPED_TRACE(heir_has_both);
    processes_.clear();
    introduced_ = 0;
    BeginWith(1, 2, 1);
    ASSERT_TRUE(Part(1, 4, {0}).ok());
    EXPECT_FALSE(Part(2, 4, {0}).ok()) << "a backup's";
    Kill(1);
    Tick();
    Settle();
    ASSERT_TRUE(Part(2, 4, heir_has_both ? std::vector<int32_t>{0, 1} : std::vector<int32_t>{1}).ok());
    const auto whole = state_->TakeWholeCheckpoint();
    ASSERT_TRUE(whole.has_value());
    EXPECT_EQ(whole->files.size(), heir_has_both ? 1U : 2U) << "each shard is in one file";
  }
}

TEST_F(ReplicationTest, WhatAPrimarySavedCountsWhenTheShardHasMoved) {
  BeginWith(1, 2, 1);
  processes_[1].draining = true;
  Beat(1);
  StepUntilQuiet();
  ASSERT_THAT(Primaries(2), ElementsAre(0, 1));
  ASSERT_TRUE(Part(1, 4, {0}).ok());
  ASSERT_TRUE(Part(2, 4, {1}).ok());
  EXPECT_TRUE(state_->TakeWholeCheckpoint().has_value());
}

TEST_F(ReplicationTest, ACheckpointOutOfTurnThatATakeoverMayHaveSpoiltIsTakenLater) {
  BeginWith(1, 2, 1);
  Train(3, {0, 1}, 1);
  wire::TakeCheckpointReply reply;
  ASSERT_TRUE(state_->TakeCheckpoint(&reply).ok());
  ASSERT_EQ(reply.clock(), 3);
  Train(3, {0, 1}, 4);
  EXPECT_EQ(Beat(2).checkpoint_clock(), 3);
  Kill(1);
  Tick();
  EXPECT_EQ(Beat(2).checkpoint_clock(), 6);
}

TEST_F(ReplicationTest, TheStatusShowsBackupsCopiesAndMoves) {
  BeginWith(1, 2, 1);
  EXPECT_EQ(Status().server_backups(), 1);
  EXPECT_EQ(Status().fewest_backups(), 1);
  EXPECT_EQ(Status().nodes(0).backups(), 1);
  EXPECT_GT(Status().nodes(0).backup_bytes(), 0);
  Kill(1);
  Tick();
  EXPECT_EQ(Status().fewest_backups(), 0);
  Settle();
  Join(wire::SERVER);
  Tick();
  EXPECT_EQ(Status().copying(), 2);
  EXPECT_EQ(Status().moving(), 1);
  EXPECT_EQ(Status().nodes(3).copies(), 2);
  processes_[4].draining = true;
  Beat(4);
  EXPECT_TRUE(Status().nodes(3).draining());
}

// Whatever the coordinator was doing when it died, the next one brings it to its end.
TEST_F(ReplicationTest, ARestartInTheMiddleOfAnyStepChangesNothingOfTheEnd) {
  for (const int32_t backups : {0, 1}) {
    for (int restart_at = 0; restart_at < 12; ++restart_at) {
      SCOPED_TRACE(absl::StrCat("backups ", backups, ", restart at ", restart_at));
      processes_.clear();
      introduced_ = 0;
      BeginWith(backups, 2, 1);
      processes_[1].draining = true;
      Beat(1);
      const int newcomer = Join(wire::SERVER);
      const auto restart_if = [&](int point) {
        if (point == restart_at) Restart();
      };
      for (int step = 0; step < 4; ++step) {
        Tick();
        restart_if(3 * step);
        Settle();
        restart_if(3 * step + 1);
        for (const int server : {1, 2, newcomer}) ReportCopies(server);
        restart_if(3 * step + 2);
      }
      StepUntilQuiet();
      EXPECT_EQ(Status().rewind(), 0);
      EXPECT_EQ(Entry(1), nullptr);
      EXPECT_TRUE(Beat(1).may_leave());
      EXPECT_THAT(Primaries(2), SizeIs(1));
      EXPECT_THAT(Primaries(newcomer), SizeIs(1));
      EXPECT_THAT(Backups(2), SizeIs(backups));
      EXPECT_THAT(Backups(newcomer), SizeIs(backups));
      EXPECT_THAT(Messages("death"), IsEmpty());
    }
  }
}

TEST_F(ReplicationTest, ARestartedCoordinatorKnowsWhichBackupsAreFresh) {
  BeginWith(1, 2, 1);
  Kill(1);
  Tick();
  const int newcomer = Join(wire::SERVER);
  Settle();
  Tick();
  Settle();
  ReportCopies(2);
  Tick();
  ASSERT_THAT(Backups(newcomer), ElementsAre(0, 1));
  Restart();
  Kill(2);
  Tick();
  EXPECT_TRUE(state_->restore_wanted());
}

TEST_F(ReplicationTest, AnOldCopyOfTheJournalIsARewindForNobodyKnowsWhoHoldsWhat) {
  BeginWith(0, 2, 1);
  const std::string old = state_->ToJournal(now_);
  processes_[1].draining = true;
  Beat(1);
  StepUntilQuiet();
  ASSERT_EQ(Entry(1), nullptr);
  Settle();
  state_ = std::make_unique<JobState>(Plan(), now_);
  ASSERT_TRUE(state_->FromJournal(old, now_).ok());
  Beat(2);
  Tick();
  EXPECT_TRUE(state_->restore_wanted());
}

}  // namespace
}  // namespace tessera
