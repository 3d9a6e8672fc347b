// `tessera checkpoint` against a coordinator that only this test knows.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "cli/checkpoint_command.h"
#include "cli/exit_codes.h"
#include "gmock/gmock.h"
#include "proto/coordinator_service.grpc.pb.h"
#include "tests/common/checkpoint/files.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {
namespace {

using ::testing::HasSubstr;

// Each status after a checkpoint was asked for is 50 steps on.
class FakeCoordinator : public wire::CoordinatorService::Service {
 public:
  grpc::Status TakeCheckpoint(grpc::ServerContext*, const wire::TakeCheckpointRequest*,
                              wire::TakeCheckpointReply* reply) override {
    if (refuses) return {grpc::StatusCode::FAILED_PRECONDITION, "the job waits for worker 1"};
    asked = true;
    reply->set_clock(100);
    return grpc::Status::OK;
  }
  grpc::Status GetStatus(grpc::ServerContext*, const wire::GetStatusRequest*,
                         wire::JobStatus* reply) override {
    reply->set_job("fashion");
    reply->set_phase(wire::RUNNING);
    if (asked && !stuck) step += 50;
    reply->set_checkpoint_step(step);
    reply->set_checkpoint_folder(absl::StrCat("/runs/fashion/checkpoints/step-", step.load()));
    return grpc::Status::OK;
  }

  std::atomic<bool> refuses = false, asked = false, stuck = false;
  std::atomic<int64_t> step = 0;
};

class TakeCheckpointTest : public testing::Test {
 protected:
  TakeCheckpointTest() {
    console_.out = [this](absl::string_view text) { out_.append(text.data(), text.size()); };
    console_.err = [this](absl::string_view text) { err_.append(text.data(), text.size()); };
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&coordinator_);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  FakeCoordinator coordinator_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  Console console_;
  std::string out_, err_;
};

TEST_F(TakeCheckpointTest, PrintsTheFolderOnceItIsWhole) {
  EXPECT_EQ(TakeCheckpoint("", address_, "60s", console_), kExitOk) << err_;
  EXPECT_EQ(out_, "/runs/fashion/checkpoints/step-100\n");
}

TEST_F(TakeCheckpointTest, SaysWhyTheCoordinatorRefuses) {
  coordinator_.refuses = true;
  EXPECT_EQ(TakeCheckpoint("", address_, "60s", console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("the job waits for worker 1"));
}

TEST_F(TakeCheckpointTest, GivesUpAfterItsTime) {
  coordinator_.stuck = true;
  EXPECT_EQ(TakeCheckpoint("", address_, "50ms", console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("no checkpoint at step 100 within 50ms"));
}

TEST_F(TakeCheckpointTest, DoesNotAskTheCoordinatorOfAnotherRun) {
  const TemporaryFolder folder;
  WriteText(folder.File("coordinator"), address_);
  EXPECT_EQ(TakeCheckpoint(folder.path(), "", "60s", console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("ended without a result"));
  EXPECT_FALSE(coordinator_.asked);
}

TEST_F(TakeCheckpointTest, OfARunThatIsOverIsRefused) {
  const TemporaryFolder folder;
  WriteText(folder.File("coordinator"), address_);
  WriteText(folder.File("summary.json"), R"({"job": "fashion", "status": "done"})");
  EXPECT_EQ(TakeCheckpoint(folder.path(), "", "60s", console_), kExitFailed);
  EXPECT_THAT(err_, HasSubstr("job `fashion` is over already"));
  EXPECT_FALSE(coordinator_.asked);
}

}  // namespace
}  // namespace tessera::cli
