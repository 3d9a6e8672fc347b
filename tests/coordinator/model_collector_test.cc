#include "coordinator/model_collector.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/rpc/listener.h"
#include "tests/coordinator/test_job.h"

namespace tessera {
namespace {

TEST(RpcModelCollector, NamesTheServerThatCannotBeReached) {
  std::string address;
  {
    const auto listener = Listener::Start({}, {});
    ASSERT_TRUE(listener.ok()) << listener.status();
    address = (*listener)->address();
  }  // nobody listens there any more
  const ServerAssignment server{"server 0 (pid 7)", address, {0, 1}};
  const auto model = RpcModelCollector(absl::Seconds(5))(MakeTestPlan(1, 1).layout, {server}, 8);
  EXPECT_EQ(model.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(model.status().message()), testing::StartsWith("server 0 (pid 7): "));
}

}  // namespace
}  // namespace tessera
