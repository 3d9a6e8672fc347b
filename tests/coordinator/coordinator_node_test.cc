#include "coordinator/coordinator_node.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "common/rpc/channel.h"
#include "proto/coordinator_service.grpc.pb.h"
#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

std::string FreshFolder() {
  const std::string folder =
      testing::TempDir() + "/node/" + testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::remove_all(folder);
  return folder;
}

TEST(CoordinatorNode, LeavesItsAddressInTheRunsFolderAndStopsOnRequest) {
  const std::string folder = FreshFolder();
  SignalWatcher signals;
  absl::Status result = absl::UnknownError("");
  std::thread node(
      [&] { result = RunCoordinatorNode(MakeTestPlan(1, 1), {.run_folder = folder}, &signals); });
  while (!std::filesystem::exists(folder + "/coordinator")) std::this_thread::yield();
  std::string address;
  std::getline(std::ifstream(folder + "/coordinator"), address);

  const auto stub = wire::CoordinatorService::NewStub(CreateChannel(address));
  grpc::ClientContext context;
  SetDeadline(&context, absl::Seconds(10));
  wire::StopReply reply;
  const grpc::Status stopped = stub->Stop(&context, {}, &reply);
  EXPECT_TRUE(stopped.ok()) << stopped.error_message();
  node.join();
  EXPECT_TRUE(result.ok()) << result;
  EXPECT_TRUE(std::filesystem::exists(folder + "/summary.json"));
}

// Runs a coordinator of `plan` in `folder` until it has been asked to stop.
absl::Status RunAndStop(JobPlan plan, const std::string& folder, bool resume, std::string* address) {
  std::filesystem::remove(folder + "/summary.json");
  if (!resume) std::filesystem::remove(folder + "/coordinator");
  const CoordinatorNodeOptions options{
      .listen = {.bind = resume ? AddressOfPredecessor(folder) : "127.0.0.1:0"},
      .run_folder = folder,
      .resume = resume};
  SignalWatcher signals;
  std::thread stopper([&] {
    while (!std::filesystem::exists(folder + "/summary.json")) {
      *address = AddressOfPredecessor(folder);
      if (address->empty()) continue;
      const auto stub = wire::CoordinatorService::NewStub(CreateChannel(*address));
      grpc::ClientContext context;
      SetDeadline(&context, absl::Seconds(10));
      wire::StopReply reply;
      stub->Stop(&context, {}, &reply);
    }
  });
  const absl::Status status = RunCoordinatorNode(std::move(plan), options, &signals);
  stopper.join();
  return status;
}

TEST(CoordinatorNode, IsResumedFromItsJournalAtTheSameAddress) {
  const std::string folder = FreshFolder();
  std::string first, second;
  ASSERT_TRUE(RunAndStop(MakeTestPlan(1, 1), folder, /*resume=*/false, &first).ok());
  EXPECT_TRUE(std::filesystem::exists(folder + "/journal"));
  const absl::Status resumed = RunAndStop(MakeTestPlan(1, 1), folder, /*resume=*/true, &second);
  EXPECT_TRUE(resumed.ok()) << resumed;
  EXPECT_EQ(first, second);

  JobPlan other = MakeTestPlan(1, 1);
  other.job.seed = 99;
  SignalWatcher signals;
  const absl::Status refused =
      RunCoordinatorNode(std::move(other), {.run_folder = folder, .resume = true}, &signals);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("job.seed was `1` and is now `99`"));
}

TEST(CoordinatorNode, NamesAPortThatIsInUse) {
  const auto taken = Listener::Start({}, {});
  ASSERT_TRUE(taken.ok()) << taken.status();
  const std::string address = (*taken)->address();
  SignalWatcher signals;
  const CoordinatorNodeOptions options{.listen = {.bind = address}, .run_folder = FreshFolder()};
  const absl::Status status = RunCoordinatorNode(MakeTestPlan(1, 1), options, &signals);
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr(address));
}

TEST(CoordinatorNode, NamesAFolderThatCannotBeMade) {
  SignalWatcher signals;
  const absl::Status status =
      RunCoordinatorNode(MakeTestPlan(1, 1), {.run_folder = "/proc/no/such/folder"}, &signals);
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("/proc/no/such/folder"));
}

}  // namespace
}  // namespace tessera
