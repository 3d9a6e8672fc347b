#include "cli/progress_text.h"

#include "absl/strings/str_join.h"
#include "gmock/gmock.h"
#include "tests/cli/job_status.h"

namespace tessera::cli {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr TextStyle kPlain;
constexpr TextStyle kFancy = {.color = true, .unicode = true};

TEST(ProgressText, EpochLineHasEverythingOfTheEpoch) {
  const wire::JobStatus status = RunningStatus();
  EXPECT_EQ(EpochLine(status, status.epochs_done(1)),
            "epoch 2/5  train loss 0.5000  test accuracy 0.8931  test loss 0.2900  5,012 images/s  40 s");
}

TEST(ProgressText, EpochLineWithoutATestSetHasNoTestFigures) {
  wire::JobStatus status = RunningStatus();
  status.mutable_epochs_done(0)->set_evaluated(false);
  EXPECT_THAT(EpochLine(status, status.epochs_done(0)), Not(HasSubstr("test")));
}

TEST(ProgressText, ProgressLineTellsWhereAndHowLong) {
  EXPECT_EQ(ProgressLine(RunningStatus()),
            "epoch 3/5  step 250/500  loss 0.3121  5,012 images/s  40 s to go");
}

TEST(ProgressText, EpochBeingEvaluatedIsStillTheCurrentOne) {
  wire::JobStatus status = RunningStatus();
  status.set_step(300);
  EXPECT_THAT(ProgressLine(status), HasSubstr("epoch 3/5  evaluating"));
}

TEST(ProgressText, WaitingSaysForWhom) {
  wire::JobStatus status = RunningStatus();
  status.set_phase(wire::WAITING);
  status.set_message("waiting for 1 of 2 workers, 12 s");
  EXPECT_EQ(ProgressLine(status), "waiting for 1 of 2 workers, 12 s");
  EXPECT_THAT(LiveFrame(status, kPlain, 80), Contains("waiting for 1 of 2 workers, 12 s"));
}

TEST(ProgressText, LiveFrameReadsWell) {
  EXPECT_THAT(LiveFrame(RunningStatus(), kPlain, 80),
              ElementsAre("fashion  sync, 4 replicas of 64 images",
                          "##################...................  50 %  epoch 3/5  step 250/500  40 s to go",
                          "loss 0.3121  test accuracy 0.8931 (epoch 2)  5,012 images/s  40 s",
                          "3 of 3 nodes alive: server 0, worker 0, worker 1"));
}

TEST(ProgressText, LiveFrameFitsEveryWidth) {
  for (int width = 1; width <= 120; ++width) {
    for (const std::string& line : LiveFrame(RunningStatus(), kFancy, width)) {
      EXPECT_LE(DisplayWidth(line), width) << line;
    }
  }
}

TEST(ProgressText, DeadAndIdleNodesAreNamed) {
  wire::JobStatus status = RunningStatus();
  status.mutable_nodes(0)->set_idle(true);
  status.mutable_nodes(1)->set_alive(false);
  EXPECT_THAT(LiveFrame(status, kPlain, 100),
              Contains("2 of 3 nodes alive: server 0 gone, worker 0, worker 1 idle"));
}

TEST(ProgressText, EmptyStatusIsNoTrouble) {
  const wire::JobStatus status;
  EXPECT_THAT(LiveFrame(status, kFancy, 80), Not(IsEmpty()));
  EXPECT_THAT(StatusPage(status, kPlain), Not(IsEmpty()));
  EXPECT_EQ(ProgressLine(status), PhaseName(wire::PHASE_UNSPECIFIED));
}

TEST(ProgressText, StatusPageListsNodesAndWhatTheyDo) {
  wire::JobStatus status = RunningStatus();
  status.mutable_nodes(0)->add_replicas(2);
  status.mutable_nodes(0)->add_replicas(3);
  status.mutable_nodes(1)->set_shards(4);
  status.mutable_nodes(1)->set_shard_bytes(512 * 1024);
  const std::string page = absl::StrJoin(StatusPage(status, kPlain), "\n");
  EXPECT_THAT(page, HasSubstr("fashion  sync, 4 replicas of 64 images  running"));
  EXPECT_THAT(page, HasSubstr("epoch 1  train loss 0.5000  test accuracy 0.8931"));
  EXPECT_THAT(page, HasSubstr("4 shards, 512 KiB"));
  EXPECT_THAT(page, HasSubstr("replicas 2, 3"));
}

TEST(ProgressText, ModeLineTellsStalenessLeadAndTheRangeOfSpeeds) {
  wire::JobStatus status = SspStatus();
  EXPECT_EQ(ModeLine(status), "staleness 2.1, max 9 of 21  clock lead 3  replicas 301 to 1,204 images/s");
  status.set_mode("async");
  status.set_staleness_bound(-1);
  EXPECT_EQ(ModeLine(status), "staleness 2.1, max 9  clock lead 3  replicas 301 to 1,204 images/s");
  for (wire::ReplicaStatus& replica : *status.mutable_replica_status()) replica.set_images_per_second(0);
  EXPECT_EQ(ModeLine(status), "staleness 2.1, max 9  clock lead 3");
}

TEST(ProgressText, SyncHasNoModeLineUntilAMinibatchIsDropped) {
  wire::JobStatus status = RunningStatus();
  AddReplica(&status, 0, 250, 1204);
  AddReplica(&status, 1, 250, 301);
  EXPECT_EQ(ModeLine(status), "");
  EXPECT_THAT(LiveFrame(status, kPlain, 80), SizeIs(4));
  status.mutable_replica_status(1)->set_dropped(1);
  EXPECT_EQ(ModeLine(status), "dropped 1 minibatch  replicas 301 to 1,204 images/s");
  status.mutable_replica_status(0)->set_dropped(1233);
  EXPECT_EQ(ModeLine(status), "dropped 1,234 minibatches  replicas 301 to 1,204 images/s");
}

TEST(ProgressText, ModeLineWaitsForTheStart) {
  wire::JobStatus status = SspStatus();
  status.clear_replica_status();
  EXPECT_EQ(ModeLine(status), "");
}

TEST(ProgressText, LiveFrameHasTheModeLineAndFitsEveryWidth) {
  EXPECT_THAT(LiveFrame(SspStatus(), kPlain, 80), Contains(ModeLine(SspStatus())));
  wire::JobStatus large = SspStatus();
  large.set_staleness_mean(123.4);
  large.set_staleness_max(1023);
  large.set_staleness_bound(123456789);
  large.set_clock_lead(12345);
  large.mutable_replica_status(0)->set_images_per_second(123456);
  for (int width = 1; width <= 120; ++width) {
    for (const std::string& line : LiveFrame(large, kFancy, width))
      EXPECT_LE(DisplayWidth(line), width) << line;
  }
}

TEST(ProgressText, StatusPageHasATableOfReplicas) {
  wire::JobStatus status = SspStatus();
  status.mutable_replica_status(2)->set_dropped(12);
  const std::vector<std::string> page = StatusPage(status, kPlain);
  EXPECT_THAT(page, Contains(ModeLine(status)));
  EXPECT_THAT(page, Contains("  replica 0     clock 253          1,204 images/s  worker 0"));
  EXPECT_THAT(page, Contains("  replica 2     clock 250            301 images/s  worker 1     12 dropped"));
  EXPECT_THAT(page, Contains("  replica 3     clock 500              - images/s  worker 1"));
  for (const std::string& line : page) {
    if (line.find("replica ") == 2) {
      EXPECT_LE(DisplayWidth(line), 80);
    }
  }
}

TEST(ProgressText, ParkedTrainingSaysWhatFor) {
  wire::JobStatus status = RunningStatus();
  status.set_message("waiting for a server, 3 s");
  EXPECT_EQ(ProgressLine(status), "parked: waiting for a server, 3 s");
  EXPECT_THAT(LiveFrame(status, kPlain, 80), Contains("parked: waiting for a server, 3 s"));
  EXPECT_THAT(StatusPage(status, kPlain), Contains("parked: waiting for a server, 3 s"));
  status.set_message("parked: waiting for a server, 3 s");
  EXPECT_EQ(ProgressLine(status), "parked: waiting for a server, 3 s");
}

TEST(ProgressText, RecoveriesHaveALineOfTheirOwn) {
  wire::JobStatus status = RunningStatus();
  EXPECT_EQ(RecoveryLine(status), "");
  status.set_recomputed_steps(1);
  EXPECT_EQ(RecoveryLine(status), "recomputed 1 step");
  status.set_checkpoint_step(1200);
  EXPECT_EQ(RecoveryLine(status), "recomputed 1 step  newest checkpoint at step 1,200");
  EXPECT_THAT(LiveFrame(status, kPlain, 80), Contains(RecoveryLine(status)));
  EXPECT_THAT(StatusPage(status, kPlain), Contains(RecoveryLine(status)));
}

TEST(ProgressText, ShowsBackupsThatLackAndShardsOnTheirWay) {
  wire::JobStatus status = RunningStatus();
  status.set_term(3);
  status.set_server_backups(2);
  status.set_fewest_backups(2);
  EXPECT_EQ(RecoveryLine(status), "");
  status.set_fewest_backups(1);
  status.set_copying(3);
  status.set_moving(1);
  EXPECT_EQ(RecoveryLine(status),
            "shards have 1 of 2 backups  3 copies under way  1 shard on its way to another server");
  wire::NodeStatus* const node = status.mutable_nodes(1);
  node->set_shards(4);
  node->set_shard_bytes(512 * 1024);
  node->set_backups(2);
  node->set_backup_bytes(1024 * 1024);
  node->set_copies(1);
  node->set_draining(true);
  EXPECT_THAT(StatusPage(status, kPlain),
              Contains(HasSubstr("4 shards, 512 KiB, backup of 2, 1.0 MiB, 1 being copied, leaving")));
}

TEST(ProgressText, DeadNodeWhoseNameAnotherHasIsNotShown) {
  wire::JobStatus status = RunningStatus();
  AddNode(&status, "server 1", /*alive=*/false);
  EXPECT_THAT(LiveFrame(status, kPlain, 80),
              Contains("3 of 4 nodes alive: server 0, server 1 gone, worker 0, worker 1"));
  AddNode(&status, "server 1");
  EXPECT_THAT(LiveFrame(status, kPlain, 80),
              Contains("4 of 4 nodes alive: server 0, server 1, worker 0, worker 1"));
}

TEST(ProgressNews, RecoveriesAreNewsAndJoinsAreNot) {
  ProgressNews news;
  wire::JobStatus status;
  for (const char* what : {"join", "rewind", "checkpoint"}) {
    wire::Event* event = status.add_events();
    event->set_what(what);
    event->set_message("all begin at step 40");
  }
  EXPECT_THAT(news.Take(status), ElementsAre("rewind: all begin at step 40"));
}

TEST(ProgressNews, EpochThatIsTrainedAgainIsNewAgain) {
  ProgressNews news;
  wire::JobStatus status = RunningStatus();
  EXPECT_THAT(news.Take(status), SizeIs(2));
  const wire::EpochResult second = status.epochs_done(1);
  status.mutable_epochs_done()->RemoveLast();
  EXPECT_THAT(news.Take(status), IsEmpty());
  *status.add_epochs_done() = second;
  EXPECT_THAT(news.Take(status), SizeIs(1));
}

TEST(ProgressNews, EachEpochAndWarningIsNewOnce) {
  ProgressNews news;
  wire::JobStatus status = RunningStatus();
  EXPECT_THAT(news.Take(status), SizeIs(2));
  EXPECT_THAT(news.Take(status), IsEmpty());
  wire::Event* join = status.add_events();
  join->set_what("join");
  wire::Event* warning = status.add_events();
  warning->set_what("warning");
  warning->set_message("worker 2 has no replica");
  EXPECT_THAT(news.Take(status), ElementsAre("warning: worker 2 has no replica"));
  EXPECT_THAT(news.Take(status), IsEmpty());
}

}  // namespace
}  // namespace tessera::cli
