#include "coordinator/job_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "common/rpc/cluster_map.h"
#include "config/job_loader.h"
#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A job's state and a clock that the test turns. Node n is the n-th to join.
class JobStateTest : public testing::Test {
 protected:
  void Begin(int32_t servers, int32_t workers) {
    state_ = std::make_unique<JobState>(MakeTestPlan(servers, workers, consistency_), now_);
  }
  // The coordinator ticks meanwhile, as it does several times in a lease; the last tick is the test's.
  void Pass(absl::Duration time) {
    constexpr absl::Duration kTick = absl::Milliseconds(500);
    for (; time > kTick; time -= kTick) {
      now_ += kTick;
      state_->Tick(now_);
    }
    now_ += time;
  }

  absl::Status Join(wire::NodeKind kind) {
    wire::RegisterReply reply;
    return state_->Register(Introduction(kind, ++joined_), now_, &reply);
  }
  // Server 1, worker 2: everybody that the job waits for.
  void BeginOneAndOne() {
    Begin(1, 1);
    ASSERT_TRUE(Join(wire::SERVER).ok());
    ASSERT_TRUE(Join(wire::WORKER).ok());
    ASSERT_EQ(state_->phase(), JobPhase::kRunning);
  }
  absl::Status Beat(const wire::HeartbeatRequest& request) {
    reply_.Clear();
    return state_->Heartbeat(request, now_, &reply_);
  }
  absl::Status Beat(int32_t node) { return Beat(HeartbeatOf(node)); }
  absl::Status Train(int32_t worker, const std::vector<int32_t>& replicas, int64_t clock) {
    wire::HeartbeatRequest request = HeartbeatOf(worker);
    for (const int32_t replica : replicas) AddReplica(&request, replica, clock);
    request.set_training_seconds(2);
    return Beat(request);
  }
  absl::Status Evaluate(int32_t worker, int64_t clock, int32_t chunk) {
    return state_->ReportEvaluation(EvaluationOf(worker, clock, chunk, 10, 7), now_);
  }
  void FinishTraining() {
    ASSERT_TRUE(Train(2, {0, 1}, 8).ok());
    for (const int64_t clock : {4, 8}) {
      ASSERT_TRUE(Evaluate(2, clock, 0).ok());
      ASSERT_TRUE(Evaluate(2, clock, 1).ok());
    }
    ASSERT_EQ(state_->phase(), JobPhase::kFinishing);
  }
  wire::JobStatus Status() {
    wire::JobStatus status;
    state_->FillStatus(now_, &status);
    return status;
  }

  ConsistencySpec consistency_ = {.group = 2};  // sync
  absl::Time now_ = absl::UnixEpoch();
  std::unique_ptr<JobState> state_;
  int joined_ = 0;
  wire::HeartbeatReply reply_;
};

TEST_F(JobStateTest, SaysForWhomItWaits) {
  Begin(1, 2);
  ASSERT_TRUE(Join(wire::SERVER).ok());
  ASSERT_TRUE(Join(wire::WORKER).ok());
  state_->TakeLogLines();
  Pass(absl::Seconds(2));
  ASSERT_TRUE(Beat(1).ok());
  ASSERT_TRUE(Beat(2).ok());
  EXPECT_EQ(reply_.phase(), wire::WAITING);
  EXPECT_EQ(reply_.message(), "waiting for 1 of 2 workers, 2 s");
  EXPECT_EQ(Status().message(), "waiting for 1 of 2 workers, 2 s");
  state_->Tick(now_);
  EXPECT_TRUE(state_->TakeLogLines().empty());
  Pass(absl::Milliseconds(2999));
  state_->Tick(now_);
  EXPECT_TRUE(state_->TakeLogLines().empty());
  Pass(absl::Milliseconds(1));
  ASSERT_TRUE(Beat(1).ok());
  ASSERT_TRUE(Beat(2).ok());
  state_->Tick(now_);
  const std::vector<LogLine> lines = state_->TakeLogLines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0].text, "waiting for 1 of 2 workers, 5 s");
}

TEST_F(JobStateTest, GivesEveryNodeTheWholeJob) {
  Begin(1, 1);
  wire::RegisterReply reply;
  ASSERT_TRUE(state_->Register(Introduction(wire::SERVER, 1), now_, &reply).ok());
  EXPECT_EQ(reply.node_id(), 1);
  EXPECT_EQ(reply.lease_ms(), 3000);
  EXPECT_EQ(reply.heartbeat_ms(), 500);
  EXPECT_EQ(reply.job_yaml(), FormatJob(state_->plan().job));
}

TEST_F(JobStateTest, HandsOutTheMapOnceEveryNodeHasCome) {
  Begin(2, 1);
  ASSERT_TRUE(Join(wire::SERVER).ok());
  ASSERT_TRUE(Join(wire::WORKER).ok());
  wire::GetClusterMapRequest request;
  request.set_node_id(2);
  request.set_incarnation("incarnation-2");
  wire::ClusterMap map;
  const absl::Status early = state_->GetClusterMap(request, now_, &map);
  EXPECT_EQ(early.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(early.message(), HasSubstr("waiting for 1 of 2 servers"));

  ASSERT_TRUE(Join(wire::SERVER).ok());
  ASSERT_TRUE(state_->GetClusterMap(request, now_, &map).ok());
  ASSERT_EQ(map.servers_size(), 2);
  EXPECT_EQ(map.servers(0).node_id(), 1);
  EXPECT_EQ(map.servers(1).node_id(), 3);
  EXPECT_EQ(map.servers(1).address(), "127.0.0.1:4003");
  EXPECT_THAT(map.servers(0).shards(), ElementsAre(0));
  EXPECT_THAT(map.servers(1).shards(), ElementsAre(1));
  ASSERT_EQ(map.workers_size(), 1);
  EXPECT_THAT(map.workers(0).replicas(), ElementsAre(0, 1));
  EXPECT_EQ(map.steps_per_epoch(), 4);
  ASSERT_EQ(map.inputs_size(), 1);
  EXPECT_EQ(map.inputs(0).name(), "image");
  EXPECT_THAT(map.inputs(0).shape(), ElementsAre(1, 2, 2));
  EXPECT_EQ(map.classes(), 3);
  EXPECT_EQ(map.train_samples(), 40);
  EXPECT_EQ(map.test_samples(), 20);
  EXPECT_EQ(LayoutFromMap(map)->total_bytes(), state_->plan().layout.total_bytes());

  request.set_incarnation("incarnation-3");
  EXPECT_EQ(state_->GetClusterMap(request, now_, &map).code(), absl::StatusCode::kNotFound);
}

TEST_F(JobStateTest, WarnsOfIdleWorkersByName) {
  Begin(1, 3);
  ASSERT_TRUE(Join(wire::SERVER).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(Join(wire::WORKER).ok());
  const wire::JobStatus status = Status();
  EXPECT_EQ(status.phase(), wire::RUNNING);
  EXPECT_TRUE(status.nodes(3).idle());
  EXPECT_FALSE(status.nodes(2).idle());
  const wire::Event& warning = status.events(status.events_size() - 1);
  EXPECT_EQ(warning.what(), "warning");
  EXPECT_THAT(warning.message(), HasSubstr("idle: worker 2 (pid 104, here)"));
}

TEST_F(JobStateTest, RefusesMoreNodesThanTheJobWants) {
  BeginOneAndOne();
  EXPECT_THAT(Join(wire::WORKER).message(), HasSubstr("the cluster is full"));
  EXPECT_THAT(Join(wire::SERVER).message(), HasSubstr("the cluster is full"));
  EXPECT_EQ(Join(wire::NODE_KIND_UNSPECIFIED).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(JobStateTest, AJobRunsFromStartToEnd) {
  BeginOneAndOne();
  ASSERT_TRUE(Train(2, {0, 1}, 4).ok());
  EXPECT_EQ(reply_.phase(), wire::RUNNING);
  Pass(absl::Seconds(1));
  FinishTraining();
  ASSERT_TRUE(Beat(1).ok());
  EXPECT_EQ(reply_.phase(), wire::FINISHING);
  const std::vector<ServerAssignment> servers = state_->Servers();
  ASSERT_EQ(servers.size(), 1u);
  EXPECT_EQ(servers[0].name, "server 0 (pid 101, 127.0.0.1:4001)");
  EXPECT_THAT(servers[0].shards, ElementsAre(0, 1));

  state_->SetCollected("digest", {.pushed_bytes = 77});
  ASSERT_TRUE(state_->Succeed(now_));
  EXPECT_FALSE(state_->NodesInformed());
  for (const int32_t node : {1, 2}) {
    ASSERT_TRUE(Beat(node).ok());
    EXPECT_EQ(reply_.phase(), wire::DONE);
    EXPECT_FALSE(state_->NodesInformed());
    wire::HeartbeatRequest last = HeartbeatOf(node);
    last.set_leaving(true);
    ASSERT_TRUE(Beat(last).ok());
  }
  EXPECT_TRUE(state_->NodesInformed());
  EXPECT_EQ(state_->phase(), JobPhase::kDone);
}

TEST_F(JobStateTest, SumsUpADoneJob) {
  BeginOneAndOne();
  now_ += absl::Seconds(5);
  wire::HeartbeatRequest report = HeartbeatOf(2);
  report.set_training_seconds(4);
  report.set_pushed_bytes(10);
  report.set_shared_memory_bytes(6);
  for (const int32_t replica : {0, 1}) {
    AddReplica(&report, replica, 8);
    wire::ReplicaProgress* progress = report.mutable_replicas(replica);
    progress->set_epoch(1);
    progress->set_loss_sum(2);
    progress->set_loss_count(4);
    progress->set_correct(15);
  }
  ASSERT_TRUE(Beat(report).ok());
  FinishTraining();
  EXPECT_EQ(state_->Summary("done", now_).counters.pushed_bytes, 10);
  EXPECT_EQ(state_->Summary("done", now_).counters.shared_memory_bytes, 6);
  state_->SetCollected("digest", {.pushed_bytes = 77});
  const RunSummary summary = state_->Summary("done", now_);
  EXPECT_EQ(summary.steps, 8);
  EXPECT_EQ(summary.updates_per_shard, 8);
  EXPECT_EQ(summary.workers, 1);
  EXPECT_EQ(summary.servers, 1);
  EXPECT_EQ(summary.weights_digest, "digest");
  EXPECT_EQ(summary.counters.pushed_bytes, 77);
  EXPECT_DOUBLE_EQ(summary.wall_seconds, 5);
  EXPECT_DOUBLE_EQ(summary.images_per_second, 20);  // 2 replicas x 8 x 5 images in 4 s
  ASSERT_EQ(summary.history.size(), 2u);
  EXPECT_DOUBLE_EQ(summary.history[1].train_loss, 0.5);
  EXPECT_DOUBLE_EQ(summary.history[1].train_accuracy, 0.75);
  EXPECT_DOUBLE_EQ(summary.history[1].test->accuracy, 0.7);
}

wire::HeartbeatRequest ServerHeartbeat(int32_t node, int64_t pushes, int64_t sum, int64_t max, int64_t lead) {
  wire::HeartbeatRequest request = HeartbeatOf(node);
  request.mutable_server()->set_staleness_pushes(pushes);
  request.mutable_server()->set_staleness_sum(sum);
  request.mutable_server()->set_staleness_max(max);
  request.mutable_server()->set_clock_lead_max(lead);
  return request;
}

TEST_F(JobStateTest, CountsUpdatesAndBoundsStalenessByMode) {
  struct Case {
    ConsistencySpec consistency;
    Version updates;
    int64_t bound;
  };
  constexpr int64_t kUnbounded = ConsistencySpec::kUnbounded;
  for (const Case& mode : {Case{{.mode = "sync", .group = 2}, 8, 0},
                           Case{{.mode = "sync", .group = 2, .drop_stragglers = 1}, 8, 0},
                           Case{{.mode = "async", .group = 1, .staleness = kUnbounded}, 16, -1},
                           Case{{.mode = "ssp", .group = 1, .staleness = 3}, 16, 7},
                           Case{{.mode = "grouped", .group = 2, .staleness = kUnbounded}, 8, 0}}) {
    consistency_ = mode.consistency;
    Begin(1, 1);
    EXPECT_EQ(state_->updates_per_shard(), mode.updates) << mode.consistency.mode;
    EXPECT_EQ(state_->Summary("done", now_).staleness_bound, mode.bound) << mode.consistency.mode;
    EXPECT_EQ(Status().staleness_bound(), mode.bound) << mode.consistency.mode;
  }
}

TEST_F(JobStateTest, ShowsTheStalenessThatServersReport) {
  consistency_ = {.mode = "ssp", .group = 1, .staleness = 3};
  Begin(2, 1);
  for (const auto kind : {wire::SERVER, wire::SERVER, wire::WORKER}) ASSERT_TRUE(Join(kind).ok());
  ASSERT_TRUE(Beat(ServerHeartbeat(1, 4, 10, 5, 1)).ok());
  ASSERT_TRUE(Beat(ServerHeartbeat(2, 6, 10, 3, 2)).ok());
  ASSERT_TRUE(Beat(ServerHeartbeat(2, 2, 4, 2, 0)).ok());  // late
  ASSERT_TRUE(Beat(1).ok());                               // says nothing of it
  EXPECT_DOUBLE_EQ(Status().staleness_mean(), 2);
  EXPECT_EQ(Status().staleness_max(), 5);
  EXPECT_EQ(Status().clock_lead(), 2);
  state_->Stop("stopped on request", now_);
  EXPECT_EQ(state_->Summary("stopped", now_).counters.staleness_max, 5);
  EXPECT_EQ(state_->Summary("stopped", now_).counters.clock_lead_max, 2);
}

TEST_F(JobStateTest, RefusesStalenessThatCannotBe) {
  BeginOneAndOne();
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const auto& request :
       {ServerHeartbeat(1, -1, 0, 0, 0), ServerHeartbeat(1, 1, -1, 0, 0), ServerHeartbeat(1, 1, 0, -1, 0),
        ServerHeartbeat(1, 0, 0, 0, -1), ServerHeartbeat(1, 0, 1, 1, 0), ServerHeartbeat(1, 2, 9, 4, 0),
        ServerHeartbeat(1, 5, 3, 4, 0), ServerHeartbeat(1, 1, kMost, 1, 0), ServerHeartbeat(2, 1, 1, 1, 0)}) {
    EXPECT_EQ(Beat(request).code(), absl::StatusCode::kInvalidArgument) << request.ShortDebugString();
  }
  EXPECT_EQ(Status().staleness_max(), 0);
  EXPECT_TRUE(Beat(ServerHeartbeat(1, kMost, kMost, kMost, kMost)).ok());
}

TEST_F(JobStateTest, AnEmptyHeartbeatTurnsNoCounterBack) {
  BeginOneAndOne();
  ASSERT_TRUE(Train(2, {0, 1}, 4).ok());
  const double before = Status().images_per_second();
  EXPECT_DOUBLE_EQ(before, 20);
  ASSERT_TRUE(Beat(2).ok());
  EXPECT_EQ(Status().images_per_second(), before);
}

TEST_F(JobStateTest, ShowsEveryReplicasClockSpeedAndWorker) {
  Begin(1, 2);
  for (const auto kind : {wire::SERVER, wire::WORKER, wire::WORKER}) ASSERT_TRUE(Join(kind).ok());
  for (int64_t clock = 1; clock <= 3; ++clock) {
    ASSERT_TRUE(Train(2, {0}, 2 * clock).ok());
    ASSERT_TRUE(Train(3, {1}, clock).ok());
    now_ += absl::Seconds(2);
  }
  wire::JobStatus status = Status();
  ASSERT_EQ(status.replica_status_size(), 2);
  EXPECT_EQ(status.replica_status(1).replica(), 1);
  EXPECT_EQ(status.replica_status(1).worker(), 1);
  EXPECT_EQ(status.replica_status(0).clock(), 6);
  EXPECT_DOUBLE_EQ(status.replica_status(0).images_per_second(), 5);  // 2 minibatches of 5 images in 2 s
  EXPECT_DOUBLE_EQ(status.replica_status(1).images_per_second(), 2.5);
  ASSERT_TRUE(Train(2, {0}, 8).ok());
  EXPECT_EQ(Status().replica_status(0).images_per_second(), 0) << "it has done its part";
}

TEST_F(JobStateTest, NoReplicaHasAStatusBeforeTheStart) {
  Begin(1, 2);
  EXPECT_EQ(Status().replica_status_size(), 0);
}

TEST_F(JobStateTest, DroppedMinibatchesAreToldAndNotTrainedOn) {
  consistency_ = {.mode = "sync", .group = 2, .drop_stragglers = 1};
  Begin(1, 2);
  for (const auto kind : {wire::SERVER, wire::WORKER, wire::WORKER}) ASSERT_TRUE(Join(kind).ok());
  ASSERT_TRUE(Train(2, {0}, 8).ok());
  wire::HeartbeatRequest straggler = HeartbeatOf(3);
  AddReplica(&straggler, 1, 8);
  straggler.mutable_replicas(0)->set_dropped(6);
  straggler.set_training_seconds(4);
  ASSERT_TRUE(Beat(straggler).ok());
  EXPECT_EQ(Status().replica_status(1).dropped(), 6);
  const RunSummary summary = state_->Summary("done", now_);
  EXPECT_EQ(summary.dropped, 6);
  EXPECT_DOUBLE_EQ(summary.images_per_second, (8 + 2) * 5 / 4.0);
  EXPECT_THAT(summary.replica_images_per_second, ElementsAre(8 * 5 / 2.0, 2 * 5 / 4.0));
}

TEST_F(JobStateTest, RefusesDropsInAJobThatDropsNone) {
  BeginOneAndOne();
  wire::HeartbeatRequest request = HeartbeatOf(2);
  AddReplica(&request, 0, 3);
  request.mutable_replicas(0)->set_dropped(1);
  EXPECT_EQ(Beat(request).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Status().step(), 0);
}

TEST_F(JobStateTest, AMissedLeaseFailsTheJobNamingTheNode) {
  BeginOneAndOne();
  Pass(absl::Seconds(2));
  ASSERT_TRUE(Train(2, {0, 1}, 1).ok());
  Pass(absl::Seconds(1));
  state_->Tick(now_);
  EXPECT_EQ(state_->phase(), JobPhase::kFailed);
  EXPECT_EQ(state_->failure(), "server 0 (pid 101, 127.0.0.1:4001) died: no heartbeat for 3.0 s (lease 3s)");
  EXPECT_FALSE(state_->NodesInformed());
  ASSERT_TRUE(Beat(2).ok());
  EXPECT_EQ(reply_.phase(), wire::FAILED);
  EXPECT_EQ(reply_.message(), state_->failure());
  EXPECT_TRUE(state_->NodesInformed());
  EXPECT_EQ(Beat(1).code(), absl::StatusCode::kNotFound);
  const wire::JobStatus status = Status();
  EXPECT_EQ(status.events(status.events_size() - 1).what(), "death");
  EXPECT_EQ(status.events(status.events_size() - 1).pid(), 101);
}

TEST_F(JobStateTest, ACoordinatorThatStoodStillDeclaresNobodyDead) {
  BeginOneAndOne();
  Pass(absl::Seconds(1));
  state_->Tick(now_);
  now_ += absl::Seconds(60);  // stopped, or swapped out: no heartbeat could be taken
  state_->Tick(now_);
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  Pass(absl::Milliseconds(1999));
  state_->Tick(now_);
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
  Pass(absl::Milliseconds(1));
  state_->Tick(now_);
  EXPECT_EQ(state_->phase(), JobPhase::kFailed) << "what was left of the lease counts";
}

TEST_F(JobStateTest, AReportFromAnotherProcessIsRefused) {
  BeginOneAndOne();
  wire::ReportFailureRequest report;
  report.set_node_id(2);
  report.set_incarnation("a dead self");
  EXPECT_EQ(state_->ReportFailure(report, now_).code(), absl::StatusCode::kNotFound);
  wire::ReportEvaluationRequest evaluation = EvaluationOf(2, 4, 0, 10, 7);
  evaluation.set_incarnation("a dead self");
  EXPECT_EQ(state_->ReportEvaluation(evaluation, now_).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
}

TEST_F(JobStateTest, LeasesCountWhileWaitingToo) {
  Begin(1, 1);
  ASSERT_TRUE(Join(wire::WORKER).ok());
  Pass(absl::Seconds(3));
  state_->Tick(now_);
  EXPECT_THAT(state_->failure(), HasSubstr("worker 0 (pid 101, here) died"));
}

TEST_F(JobStateTest, AReportedFailureNamesWhoReportsIt) {
  BeginOneAndOne();
  wire::ReportFailureRequest report;
  report.set_node_id(2);
  report.set_incarnation("incarnation-2");
  report.set_message("the loss is not finite at step 3 in conv1");
  ASSERT_TRUE(state_->ReportFailure(report, now_).ok());
  EXPECT_EQ(state_->failure(), "worker 0 (pid 102, here): the loss is not finite at step 3 in conv1");
  // A second report changes nothing.
  report.set_message("other");
  ASSERT_TRUE(state_->ReportFailure(report, now_).ok());
  EXPECT_THAT(state_->failure(), HasSubstr("the loss is not finite"));
  EXPECT_FALSE(state_->NodesInformed());
}

TEST_F(JobStateTest, ANodeThatLeavesEarlyFailsTheJob) {
  BeginOneAndOne();
  wire::HeartbeatRequest last = HeartbeatOf(2);
  last.set_leaving(true);
  ASSERT_TRUE(Beat(last).ok());
  EXPECT_EQ(state_->failure(), "worker 0 (pid 102, here) left before the job was over");
}

TEST_F(JobStateTest, OnceTrainingIsCompleteOnlyServersAreNeeded) {
  BeginOneAndOne();
  FinishTraining();
  Pass(absl::Seconds(2));
  ASSERT_TRUE(Beat(1).ok());
  Pass(absl::Seconds(1));
  state_->Tick(now_);  // the worker is dead
  EXPECT_EQ(state_->phase(), JobPhase::kFinishing);
  Pass(absl::Seconds(2));
  state_->Tick(now_);  // the server too
  EXPECT_THAT(state_->failure(), HasSubstr("server 0"));
  EXPECT_FALSE(state_->Succeed(now_));
}

TEST_F(JobStateTest, ALeaseThatRunsOutAfterTheEndFailsNothing) {
  BeginOneAndOne();
  state_->Stop("stopped on request", now_);
  EXPECT_EQ(state_->phase(), JobPhase::kStopped);
  EXPECT_FALSE(state_->NodesInformed());
  Pass(absl::Seconds(3));
  state_->Tick(now_);
  EXPECT_EQ(state_->phase(), JobPhase::kStopped);
  EXPECT_TRUE(state_->NodesInformed());
}

TEST_F(JobStateTest, RefusesNodesAfterTheEnd) {
  Begin(1, 1);
  state_->Stop("stopped on request", now_);
  EXPECT_THAT(Join(wire::SERVER).message(), HasSubstr("job small is over"));
  EXPECT_TRUE(state_->NodesInformed());
}

TEST_F(JobStateTest, RefusesHostileHeartbeatsAndKeepsTheLeaseAsItWas) {
  BeginOneAndOne();
  wire::HeartbeatRequest foreign_replica = HeartbeatOf(2);
  AddReplica(&foreign_replica, 5, 1);
  wire::HeartbeatRequest server_with_replica = HeartbeatOf(1);
  AddReplica(&server_with_replica, 0, 1);
  wire::HeartbeatRequest flood = HeartbeatOf(2);
  for (int i = 0; i < 100'000; ++i) AddReplica(&flood, 0, 1);
  wire::HeartbeatRequest beyond = HeartbeatOf(2);
  AddReplica(&beyond, 0, std::numeric_limits<int64_t>::max());
  wire::HeartbeatRequest negative = HeartbeatOf(2);
  negative.set_pushed_bytes(-1);
  wire::HeartbeatRequest negative_shared = HeartbeatOf(2);
  negative_shared.set_shared_memory_bytes(-1);
  wire::HeartbeatRequest no_time = HeartbeatOf(2);
  no_time.set_training_seconds(std::numeric_limits<double>::quiet_NaN());
  Pass(absl::Seconds(1));
  for (const auto& request :
       {foreign_replica, server_with_replica, flood, beyond, negative, negative_shared, no_time}) {
    EXPECT_EQ(Beat(request).code(), absl::StatusCode::kInvalidArgument);
  }
  for (const int32_t unknown : {0, -7, 3, INT32_MAX})
    EXPECT_EQ(Beat(unknown).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Status().nodes(1).lease_age_ms(), 1000);
  EXPECT_EQ(Status().step(), 0);
}

TEST_F(JobStateTest, RefusesHostileReports) {
  BeginOneAndOne();
  EXPECT_EQ(state_->ReportEvaluation(EvaluationOf(9, 4, 0, 10, 1), now_).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(state_->ReportEvaluation(EvaluationOf(2, 5, 0, 10, 1), now_).code(),
            absl::StatusCode::kInvalidArgument);
  wire::ReportEvaluationRequest flood = EvaluationOf(2, 4, 0, 1, 1);
  for (int i = 0; i < 100; ++i) *flood.add_chunks() = flood.chunks(0);
  EXPECT_EQ(state_->ReportEvaluation(flood, now_).code(), absl::StatusCode::kInvalidArgument);
  wire::ReportFailureRequest stranger;
  stranger.set_node_id(-1);
  EXPECT_EQ(state_->ReportFailure(stranger, now_).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(state_->phase(), JobPhase::kRunning);
}

TEST_F(JobStateTest, ReportsEachEpochOnceInTheLog) {
  BeginOneAndOne();
  state_->TakeLogLines();
  ASSERT_TRUE(Train(2, {0, 1}, 4).ok());
  EXPECT_TRUE(state_->TakeLogLines().empty());
  ASSERT_TRUE(Evaluate(2, 4, 1).ok());
  ASSERT_TRUE(Evaluate(2, 4, 0).ok());
  ASSERT_TRUE(Evaluate(2, 4, 0).ok());
  const std::vector<LogLine> lines = state_->TakeLogLines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_THAT(lines[0].text, HasSubstr("epoch 1/2"));
  EXPECT_THAT(lines[0].text, HasSubstr("test accuracy 0.7000"));
}

}  // namespace
}  // namespace tessera
