// The daemon's life, seen by a coordinator and a client.
#include "server/server_node.h"

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>
#include <vector>

#include "common/rpc/cluster_map.h"
#include "common/rpc/exchange_client.h"
#include "config/job_loader.h"
#include "tests/common/rpc/fake_coordinator.h"
#include "tests/config/job_text.h"
#include "tests/integration/test_peer.h"
#include "tests/server/test_shards.h"

namespace tessera {
namespace {

using Heard = FakeCoordinator::Heard;
using Script = FakeCoordinator::Script;
constexpr int64_t kShardBytes = 1 << 10;

class ServerNodeTest : public ::testing::Test {
 protected:
  ServerNodeTest() {
    coordinator_.Set([](Script& script) {
      script.registration.set_job_yaml(FormatJob(*LoadJobText(kSmallJob, "small.yaml", {})));
      script.registration.set_heartbeat_ms(10);
      script.registration.set_lease_ms(1000);
    });
    end_ = std::async(std::launch::async,
                      [&] { return RunServerNode({.coordinator = coordinator_.address()}, &signals_); });
  }
  ~ServerNodeTest() override {
    coordinator_.Set([](Script& script) {
      script.heartbeat_status = absl::OkStatus();
      script.heartbeat.set_phase(wire::STOPPED);
    });
    EXPECT_TRUE(end_.get().ok());
  }

  // A map that gives everything to this server.
  void Publish(int64_t term, int64_t rewind) {
    coordinator_.Set([=](Script& script) {
      script.heartbeat_status = absl::OkStatus();
      script.heartbeat.set_phase(wire::RUNNING);
      script.heartbeat.set_term(term);
      wire::ClusterMap map;
      map.set_term(term);
      map.set_rewind(rewind);
      wire::ServerEntry* server = map.add_servers();
      server->set_node_id(script.registration.node_id());
      for (const int32_t shard : {0, 1}) server->add_shards(shard);
      LayoutToMap(TestLayout(8, kShardBytes), kShardBytes, &map);
      map.set_steps_per_epoch(10);
      script.map = map;
    });
  }
  Heard WaitForTerm(int64_t term) {
    return coordinator_.WaitFor([term](const Heard& heard) {
      return !heard.heartbeats.empty() && heard.heartbeats.back().term() == term;
    });
  }
  std::shared_ptr<RecordingPeer> Connect(const std::string& address) {
    auto peer = std::make_shared<RecordingPeer>();
    senders_.push_back(client_.Open(address, peer));
    senders_.back()->Send(Hello());
    return peer;
  }

  SignalWatcher signals_;
  FakeCoordinator coordinator_;
  std::future<absl::Status> end_;
  ExchangeClient client_;
  std::vector<std::shared_ptr<ExchangeSender>> senders_;
};

TEST_F(ServerNodeTest, FollowsOneMapAfterTheOtherWithConnectionsOpen) {
  Publish(5, 0);
  const Heard heard = WaitForTerm(5);
  const auto before = Connect(heard.registrations[0].address());
  EXPECT_EQ(before->WaitForMessages(1).at(0).term, 5);
  Publish(6, 0);
  WaitForTerm(6);
  Publish(7, 1);
  EXPECT_EQ(WaitForTerm(7).heartbeats.back().rewind(), 1);
  const auto after = Connect(heard.registrations[0].address());
  EXPECT_EQ(after->WaitForMessages(1).at(0).term, 7);
  EXPECT_EQ(before->WaitForMessages(1).size(), 1u);
  EXPECT_EQ(coordinator_.heard().registrations.size(), 1u);
}

TEST_F(ServerNodeTest, DeclaredDeadItJoinsAgainWithEmptyHandsAtTheSamePort) {
  Publish(5, 0);
  const std::string address = WaitForTerm(5).registrations[0].address();
  const auto client = Connect(address);
  ASSERT_EQ(client->WaitForMessages(1).size(), 1u);
  coordinator_.Set([](Script& script) { script.heartbeat_status = absl::NotFoundError("declared dead"); });
  EXPECT_EQ(client->WaitForEnd().code(), absl::StatusCode::kUnavailable);
  const Heard heard = coordinator_.WaitFor([](const Heard& h) { return h.registrations.size() >= 2; });
  EXPECT_EQ(heard.registrations[1].address(), address);
  EXPECT_NE(heard.registrations[1].incarnation(), heard.registrations[0].incarnation());

  // Until then it may be given up on again, which ends connections.
  Publish(9, 1);
  WaitForTerm(9);
  const auto again = Connect(address);
  const auto messages = again->WaitForMessages(1);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(messages[0].term, 9);
}

}  // namespace
}  // namespace tessera
