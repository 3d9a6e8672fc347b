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
