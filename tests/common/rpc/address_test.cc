#include "common/rpc/address.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(HostPort, IsAHostAColonAndAPort) {
  EXPECT_EQ(ParseHostPort("127.0.0.1:7070")->host, "127.0.0.1");
  EXPECT_EQ(ParseHostPort("127.0.0.1:7070")->port, 7070);
  EXPECT_EQ(ParseHostPort("node-1.cluster:0")->port, 0);
  EXPECT_EQ(ParseHostPort("[::1]:65535")->host, "[::1]");
}

TEST(HostPort, AnythingElseIsRefusedWithWhatWasExpected) {
  for (const char* text : {"", "foo", ":7070", "foo:", "foo:x", "foo:-1", "foo:65536", "foo:7070x"}) {
    const absl::Status status = ParseHostPort(text).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_NE(std::string(status.message()).find("HOST:PORT"), std::string::npos) << status;
  }
}

}  // namespace
}  // namespace tessera
