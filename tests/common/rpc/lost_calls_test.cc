#include "common/rpc/lost_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rpc/channel.h"
#include "tests/common/rpc/fake_coordinator.h"

namespace tessera {
namespace {

TEST(LostCalls, FailAsIfTheServerCouldNotBeReachedAndNeverGetThere) {
  FakeCoordinator coordinator;
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create({.loss = 0.5, .seed = 1});
  const auto stub = wire::CoordinatorService::NewStub(CreateChannel(coordinator.address(), faults));
  size_t answered = 0;
  for (int i = 0; i < 100; ++i) {
    grpc::ClientContext context;
    SetDeadline(&context, absl::Seconds(20));
    wire::RegisterReply reply;
    const absl::Status status = FromGrpcStatus(stub->Register(&context, {}, &reply));
    if (status.ok()) {
      ++answered;
      EXPECT_EQ(reply.node_id(), 7);
    } else {
      EXPECT_TRUE(absl::IsUnavailable(status)) << status;
      EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("--fault-loss"));
    }
  }
  EXPECT_GT(answered, 20u);
  EXPECT_LT(answered, 80u);
  EXPECT_EQ(coordinator.heard().registrations.size(), answered);
  EXPECT_THAT(faults->Summary(), ::testing::HasSubstr(absl::StrCat(100 - answered, " of 100 calls lost")));
}

}  // namespace
}  // namespace tessera
