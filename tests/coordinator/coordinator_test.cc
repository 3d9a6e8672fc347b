// The coordinator with its gRPC service in one process: clients over loopback, a clock that the test turns.
#include "coordinator/coordinator.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "common/rpc/channel.h"
#include "common/rpc/listener.h"
#include "common/safetensors.h"
#include "coordinator/coordinator_service.h"
#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

using testing::HasSubstr;
using Stub = wire::CoordinatorService::Stub;

// A clock for the coordinator's threads and the test's.
class FakeTime {
 public:
  absl::Time Now() const {
    MutexLock lock(&mutex_);
    return now_;
  }
  void Pass(absl::Duration time) {
    MutexLock lock(&mutex_);
    now_ += time;
  }

 private:
  mutable Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch();
};

NamedTensors SomeTensors() { return {{"fc.weight", {{2}, {1.0f, 2.0f}}}}; }

class CoordinatorTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    Start();
  }
  void TearDown() override {
    stub_.reset();
    if (listener_) listener_->Shutdown(absl::Seconds(1));
    listener_.reset();
  }

  void Start(const ConsistencySpec& consistency = {.group = 2}) {
    CoordinatorOptions options = options_;
    options.run_folder = folder_;
    options.now = [this] { return time_.Now(); };
    if (!options.collect)
      options.collect = [this](const ShardLayout&, absl::Span<const ServerAssignment> servers,
                               Version expected) {
        EXPECT_EQ(servers.size(), 1u);
        EXPECT_EQ(expected, expected_version_);
        return collected_;
      };
    coordinator_ = std::make_unique<Coordinator>(MakeTestPlan(1, 1, consistency), options);
    service_ = std::make_unique<CoordinatorService>(coordinator_.get());
    auto listener = Listener::Start({}, {service_.get()});
    ASSERT_TRUE(listener.ok()) << listener.status();
    listener_ = *std::move(listener);
    stub_ = wire::CoordinatorService::NewStub(CreateChannel(listener_->address()));
  }

  template <typename Request, typename Reply>
  grpc::Status Call(grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                    const Request& request, Reply* reply) {
    grpc::ClientContext context;
    SetDeadline(&context, absl::Seconds(10));
    return (stub_.get()->*method)(&context, request, reply);
  }
  grpc::Status Register(const wire::RegisterRequest& request) {
    wire::RegisterReply reply;
    return Call(&Stub::Register, request, &reply);
  }
  wire::Phase Beat(const wire::HeartbeatRequest& request) {
    wire::HeartbeatReply reply;
    const grpc::Status status = Call(&Stub::Heartbeat, request, &reply);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return reply.phase();
  }
  wire::JobStatus Status() {
    wire::JobStatus reply;
    EXPECT_TRUE(Call(&Stub::GetStatus, wire::GetStatusRequest(), &reply).ok());
    return reply;
  }
  void JoinBoth() {
    ASSERT_TRUE(Register(Introduction(wire::SERVER, 1)).ok());
    ASSERT_TRUE(Register(Introduction(wire::WORKER, 2)).ok());
  }
  void FinishTraining() {
    wire::HeartbeatRequest trained = HeartbeatOf(2);
    AddReplica(&trained, 0, 8);
    AddReplica(&trained, 1, 8);
    Beat(trained);
    wire::ReportEvaluationReply reply;
    for (const int64_t clock : {4, 8}) {
      ASSERT_TRUE(Call(&Stub::ReportEvaluation, EvaluationOf(2, clock, 0, 20, 15), &reply).ok());
    }
  }
  // Heartbeats of `node` until it hears of the end; then it leaves.
  wire::Phase BeatUntilTheEnd(int32_t node) {
    wire::Phase phase = wire::WAITING;
    while (phase < wire::DONE) phase = Beat(HeartbeatOf(node));
    wire::HeartbeatRequest last = HeartbeatOf(node);
    last.set_leaving(true);
    Beat(last);
    return phase;
  }
  nlohmann::json Summary() { return nlohmann::json::parse(std::ifstream(folder_ + "/summary.json")); }

  CoordinatorOptions options_;
  FakeTime time_;
  std::string folder_;
  Version expected_version_ = 8;
  absl::StatusOr<CollectedModel> collected_ = CollectedModel{SomeTensors(), {.pushed_bytes = 12}};
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<CoordinatorService> service_;
  std::unique_ptr<Listener> listener_;
  std::unique_ptr<Stub> stub_;
};

TEST_F(CoordinatorTest, RefusesAnotherProtocolVersionOverTheWire) {
  wire::RegisterRequest request = Introduction(wire::SERVER, 1);
  request.set_protocol_version(99);
  const grpc::Status status = Register(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("version 99"));
}

TEST_F(CoordinatorTest, AnswersUnknownNodesWithAStatus) {
  wire::HeartbeatReply reply;
  EXPECT_EQ(Call(&Stub::Heartbeat, HeartbeatOf(-1), &reply).error_code(), grpc::StatusCode::NOT_FOUND);
  wire::ClusterMap map;
  EXPECT_EQ(Call(&Stub::GetClusterMap, wire::GetClusterMapRequest(), &map).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(Status().phase(), wire::WAITING);
}

TEST_F(CoordinatorTest, AMissedLeaseShowsOnTheStatusPage) {
  JoinBoth();
  EXPECT_EQ(Status().phase(), wire::RUNNING);
  for (int second = 0; second < 3; ++second) {
    Beat(HeartbeatOf(1));
    time_.Pass(absl::Seconds(1));
    coordinator_->Tick();
  }
  const wire::JobStatus status = Status();
  EXPECT_EQ(status.phase(), wire::RUNNING);
  EXPECT_EQ(status.message(), "waiting for a worker");
  EXPECT_FALSE(status.nodes(1).alive());
  ASSERT_GE(status.events_size(), 2);
  EXPECT_EQ(status.events(status.events_size() - 2).message(),
            "worker 0 (pid 102, here) died: no heartbeat for 3.0 s (lease 3s)");
}

TEST_F(CoordinatorTest, ADoneJobLeavesModelAndSummary) {
  absl::Status result = absl::UnknownError("");
  std::thread run([&] { result = coordinator_->Run(); });
  JoinBoth();
  FinishTraining();
  EXPECT_EQ(BeatUntilTheEnd(2), wire::DONE);
  EXPECT_EQ(Summary()["status"], "done");  // there before anyone is told
  EXPECT_EQ(nlohmann::json::parse(Status().summary_json()), Summary());
  EXPECT_EQ(BeatUntilTheEnd(1), wire::DONE);
  run.join();
  EXPECT_TRUE(result.ok()) << result;
  EXPECT_EQ(Summary()["test_accuracy"], 0.75);
  EXPECT_EQ(Summary()["pushed_bytes"], 12);
  EXPECT_EQ(Summary()["weights_digest"], WeightsDigest(SomeTensors()));
  const auto model = ReadSafetensors(folder_ + "/model.safetensors");
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(WeightsDigest(*model), WeightsDigest(SomeTensors()));
}

TEST_F(CoordinatorTest, EveryMinibatchOfAnAsynchronousJobIsAnUpdate) {
  TearDown();
  expected_version_ = 16;
  Start({.mode = "async", .group = 1, .staleness = ConsistencySpec::kUnbounded});
  std::thread run([&] { EXPECT_TRUE(coordinator_->Run().ok()); });
  JoinBoth();
  FinishTraining();
  EXPECT_EQ(BeatUntilTheEnd(2), wire::DONE);
  EXPECT_EQ(BeatUntilTheEnd(1), wire::DONE);
  run.join();
  EXPECT_EQ(Summary()["updates_per_shard"], 16);
  EXPECT_EQ(Summary()["mode"], "async");
  EXPECT_TRUE(Summary()["staleness"]["bound"].is_null());
}

TEST_F(CoordinatorTest, AFailedCollectionFailsTheJobAndNamesTheServer) {
  collected_ = absl::InternalError("server 0 (pid 101, 127.0.0.1:4001): gone");
  absl::Status result;
  std::thread run([&] { result = coordinator_->Run(); });
  JoinBoth();
  FinishTraining();
  EXPECT_EQ(BeatUntilTheEnd(1), wire::FAILED);
  EXPECT_EQ(BeatUntilTheEnd(2), wire::FAILED);
  run.join();
  EXPECT_EQ(result.message(), "server 0 (pid 101, 127.0.0.1:4001): gone");
  EXPECT_EQ(Summary()["status"], "failed");
  EXPECT_EQ(Summary()["message"], "server 0 (pid 101, 127.0.0.1:4001): gone");
  EXPECT_TRUE(Summary()["updates_per_shard"].is_null());
}

TEST_F(CoordinatorTest, TellsOfNothingUntilTheJournalCanBeWritten) {
  TearDown();
  absl::Status disk = absl::ResourceExhaustedError("the disk is full");
  std::string saved;
  options_.save_journal = [&](absl::string_view state) {
    if (disk.ok()) saved = std::string(state);
    return disk;
  };
  Start();
  JoinBoth();
  coordinator_->Tick();
  coordinator_->Tick();
  wire::HeartbeatReply reply;
  ASSERT_TRUE(Call(&Stub::Heartbeat, HeartbeatOf(1), &reply).ok());
  EXPECT_EQ(reply.phase(), wire::RUNNING);
  EXPECT_EQ(reply.term(), 0);
  const wire::JobStatus status = Status();
  EXPECT_THAT(status.events(status.events_size() - 1).message(), HasSubstr("the disk is full"));
  disk = absl::OkStatus();
  time_.Pass(Coordinator::kJournalRetry);
  coordinator_->Tick();
  ASSERT_TRUE(Call(&Stub::Heartbeat, HeartbeatOf(1), &reply).ok());
  EXPECT_GT(reply.term(), 0);

  TearDown();
  Start();
  ASSERT_TRUE(coordinator_->Resume(saved).ok());
  EXPECT_EQ(Status().term(), reply.term());
  EXPECT_EQ(Beat(HeartbeatOf(2)), wire::RUNNING) << "it is known";
}

TEST_F(CoordinatorTest, AFolderOfCheckpointsThatCannotBeReadIsTriedAgain) {
  TearDown();
  absl::StatusOr<FoundCheckpoint> found = absl::UnavailableError("stale file handle");
  options_.state.resume = true;
  options_.checkpoints.find_newest = [&] { return found; };
  Start();
  JoinBoth();
  coordinator_->SeeToCheckpoints();
  EXPECT_EQ(Status().phase(), wire::WAITING) << "the start would lose the run";
  const wire::JobStatus status = Status();
  EXPECT_THAT(status.events(status.events_size() - 1).message(), HasSubstr("stale file handle"));
  found = FoundCheckpoint();
  found->restore.set_folder("/checkpoints/step-4");
  found->restore.set_clock(4);
  coordinator_->SeeToCheckpoints();
  EXPECT_EQ(Status().phase(), wire::RUNNING);
  EXPECT_EQ(Status().step(), 4);
}

TEST_F(CoordinatorTest, ACheckpointIsThereOnceItsManifestIs) {
  TearDown();
  absl::StatusOr<std::string> folder = absl::ResourceExhaustedError("the disk is full");
  options_.checkpoints.finish = [&](const WholeCheckpoint& checkpoint, int64_t) {
    EXPECT_EQ(checkpoint.files.size(), 1u);
    return folder;
  };
  Start();
  JoinBoth();
  for (const int64_t clock : {4, 8}) {
    wire::ReportCheckpointRequest part;
    part.set_node_id(1);
    part.set_incarnation("incarnation-1");
    part.set_clock(clock);
    part.mutable_file()->set_name("part");
    part.mutable_file()->set_sha256(std::string(32, 'x'));
    for (const int32_t shard : {0, 1}) part.mutable_file()->add_shards(shard);
    wire::ReportCheckpointReply reply;
    ASSERT_TRUE(Call(&Stub::ReportCheckpoint, part, &reply).ok());
    coordinator_->SeeToCheckpoints();
    const wire::JobStatus status = Status();
    const wire::Event& event = status.events(status.events_size() - 1);
    EXPECT_EQ(event.what(), clock == 4 ? "checkpoint failed" : "checkpoint") << event.message();
    EXPECT_EQ(status.checkpoint_step(), clock == 4 ? 0 : 8);
    folder = "/checkpoints/step-8";
  }
}

TEST_F(CoordinatorTest, CollectsAgainWhenAServerDoesNotAnswer) {
  TearDown();
  std::atomic<int> tries{0};
  options_.collect = [&](const ShardLayout&, absl::Span<const ServerAssignment>,
                         Version) -> absl::StatusOr<CollectedModel> {
    if (++tries == 1) return absl::UnavailableError("server 0: connection reset");
    return collected_;
  };
  Start();
  std::thread run([&] { EXPECT_TRUE(coordinator_->Run().ok()); });
  JoinBoth();
  FinishTraining();
  EXPECT_EQ(BeatUntilTheEnd(1), wire::DONE);
  EXPECT_EQ(BeatUntilTheEnd(2), wire::DONE);
  run.join();
  EXPECT_EQ(tries, 2);
}

TEST_F(CoordinatorTest, AStoppedJobEndsInOrder) {
  absl::Status result = absl::UnknownError("");
  std::thread run([&] { result = coordinator_->Run(); });
  JoinBoth();
  wire::StopReply reply;
  EXPECT_TRUE(Call(&Stub::Stop, wire::StopRequest(), &reply).ok());
  EXPECT_EQ(BeatUntilTheEnd(1), wire::STOPPED);
  EXPECT_EQ(BeatUntilTheEnd(2), wire::STOPPED);
  run.join();
  EXPECT_TRUE(result.ok()) << result;
  EXPECT_EQ(Summary()["status"], "stopped");
  EXPECT_EQ(Summary()["message"], "stopped on request");
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/model.safetensors"));
}

TEST_F(CoordinatorTest, AJobWithoutNodesStopsAtOnce) {
  coordinator_->RequestStop("stopped by SIGTERM");
  EXPECT_TRUE(coordinator_->Run().ok());
  EXPECT_EQ(Summary()["message"], "stopped by SIGTERM");
}

TEST_F(CoordinatorTest, AFailedJobDoesNotWaitLongForNodesThatDoNotAsk) {
  JoinBoth();
  wire::ReportFailureRequest report;
  report.set_node_id(2);
  report.set_incarnation("incarnation-2");
  report.set_message("the loss is not finite");
  wire::ReportFailureReply reply;
  ASSERT_TRUE(Call(&Stub::ReportFailure, report, &reply).ok());
  time_.Pass(Coordinator::kFailureNotice);
  const absl::Status result = coordinator_->Run();  // nobody is told, and both leases are good
  EXPECT_EQ(result.message(), "worker 0 (pid 102, here): the loss is not finite");
  EXPECT_EQ(Status().nodes(0).alive(), true);
}

}  // namespace
}  // namespace tessera
