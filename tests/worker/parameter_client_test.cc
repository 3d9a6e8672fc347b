// What a worker's client does when messages are lost, connections break and the map changes, against servers
// that a test plays itself.
#include "worker/parameter_client.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/protocol.h"

namespace tessera {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);
constexpr int64_t kLength = 8;  // floats of a shard

// A connection as its server has it.
class FakeConnection : public ExchangeSender {
 public:
  FakeConnection(std::string server, std::shared_ptr<ExchangeReceiver> worker)
      : server_(std::move(server)), worker_(std::move(worker)) {}

  void Send(ExchangeMessage message, int /*priority*/) override {
    MutexLock lock(&mutex_);
    received_.push_back(std::move(message));
    changed_.NotifyAll();
  }
  void Flush() override {}
  void Grant(int64_t) override {}
  void Close(absl::Status) override {
    MutexLock lock(&mutex_);
    closed_ = true;
    changed_.NotifyAll();
  }

  const std::string& server() const { return server_; }
  void Answer(ExchangeMessage message) { worker_->OnMessage(std::move(message)); }
  void Break() { worker_->OnClosed(absl::UnavailableError("broken by the test")); }

  // The first `count` messages; fails the test when they do not come.
  std::vector<ExchangeMessage> WaitFor(size_t count) {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + kPatience;
    while (received_.size() < count && absl::Now() < deadline) {
      changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    }
    EXPECT_GE(received_.size(), count) << "messages to " << server_;
    return {received_.begin(), received_.begin() + static_cast<int64_t>(std::min(count, received_.size()))};
  }
  bool WaitForClose() {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + kPatience;
    while (!closed_ && absl::Now() < deadline) changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    return closed_;
  }

 private:
  const std::string server_;
  const std::shared_ptr<ExchangeReceiver> worker_;
  Mutex mutex_;
  CondVar changed_;
  std::vector<ExchangeMessage> received_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

// All connections that a client opens, in order.
class FakeServers {
 public:
  std::shared_ptr<ExchangeSender> Open(const ServerPeer& server, std::shared_ptr<ExchangeReceiver> worker) {
    auto connection = std::make_shared<FakeConnection>(server.name, std::move(worker));
    MutexLock lock(&mutex_);
    connections_.push_back(connection);
    changed_.NotifyAll();
    return connection;
  }

  // Connection `number`, counted from 0, of all that were opened.
  std::shared_ptr<FakeConnection> Wait(size_t number) {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + kPatience;
    while (connections_.size() <= number && absl::Now() < deadline) {
      changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    }
    return connections_.size() > number ? connections_[number] : nullptr;
  }
  size_t opened() {
    MutexLock lock(&mutex_);
    return connections_.size();
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<std::shared_ptr<FakeConnection>> connections_ ABSL_GUARDED_BY(mutex_);
};

// A worker with replicas 0 and 1 of one group, and two layers of one shard each.
class ParameterClientTest : public testing::Test {
 protected:
  static constexpr ReplicaRange kReplicas{0, 1};

  static ShardLayout MakeLayout() {
    std::vector<ParameterBlock> blocks;
    for (const std::string layer : {"a", "b"}) {
      blocks.push_back({layer,
                        ParameterKind::kWeight,
                        {{absl::StrCat(layer, ".weight"), {1, kLength}, ParameterKind::kWeight, {}}}});
    }
    return *ShardLayout::Create(std::move(blocks), 1 << 20);
  }

  void SetUp() override {
    options_.node = "worker 0";
    options_.term = 7;
    options_.rewind = 3;
    options_.first_wait = absl::Hours(1);
    options_.lease = absl::Hours(1);
  }
  void TearDown() override {
    if (client_ != nullptr) client_->Close();
  }

  static ServerPeer Server(int node_id, std::vector<ShardId> shards) {
    return {absl::StrCat("server ", node_id), node_id, std::move(shards), {}, absl::StrCat("host:", node_id)};
  }

  static ExchangeMessage Hello(int64_t term, std::vector<ClockRange> next = {}) {
    ExchangeMessage hello;
    hello.kind = MessageKind::kHello;
    hello.protocol_version = kProtocolVersion;
    hello.term = term;
    hello.next_clocks = std::move(next);
    return hello;
  }

  ExchangeMessage Reply(MessageKind kind, const ExchangeMessage& request) const {
    ExchangeMessage reply;
    reply.kind = kind;
    reply.shard = request.shard;
    reply.replicas = request.replicas;
    reply.clock = request.clock;
    reply.rewind = options_.rewind;
    return reply;
  }
  ExchangeMessage Weights(const ExchangeMessage& request, Clock clock) const {
    ExchangeMessage weights = Reply(MessageKind::kWeights, request);
    weights.clock = clock;
    weights.version = clock;
    weights.tensor = TensorBytes(std::make_shared<TensorBuffer>(kLength));
    return weights;
  }

  void Create(std::vector<ServerPeer> servers) {
    client_ = *ParameterClient::Create(options_, layout_, std::move(servers), weights_);
  }
  // Connects while every connection is answered with its server's hello.
  void Connect(const std::map<std::string, std::vector<ClockRange>>& clocks = {}) {
    const absl::Status status = client_->Connect(
        [this, clocks](const ServerPeer& server, std::shared_ptr<ExchangeReceiver> receiver) {
          const auto found = clocks.find(server.name);
          auto hello =
              Hello(options_.term, found == clocks.end() ? std::vector<ClockRange>() : found->second);
          auto sender = servers_.Open(server, std::move(receiver));
          return std::make_shared<Greeter>(std::static_pointer_cast<FakeConnection>(sender), hello);
        },
        kPatience);
    ASSERT_TRUE(status.ok()) << status;
  }
  // One server with both shards.
  void ConnectToOne() {
    Create({Server(1, {0, 1})});
    Connect();
  }

  // The weights for `clock` have come on both shards.
  void Install(FakeConnection* connection, Clock clock) {
    client_->Request(0, clock, false);
    ExchangeMessage read;
    read.replicas = kReplicas;
    for (read.shard = 0; read.shard < 2; ++read.shard) connection->Answer(Weights(read, clock));
  }
  // Pushes a gradient of the first layer; what the client alone keeps of it.
  std::weak_ptr<const TensorBuffer> Push(Clock clock, PushReply reply = PushReply::kWeights) {
    auto gradient = std::make_shared<TensorBuffer>(kLength);
    std::fill(gradient->span().begin(), gradient->span().end(), 2.5F);
    std::weak_ptr<const TensorBuffer> kept = gradient;
    client_->Push(0, 0, kReplicas, clock, std::move(gradient), reply);
    client_->Flush();
    return kept;
  }
  static float FirstFloat(const ExchangeMessage& message) {
    std::vector<float> floats(message.tensor.size_bytes() / sizeof(float));
    message.tensor.CopyTo(absl::MakeSpan(floats));
    return floats.empty() ? 0 : floats.front();
  }

  // Says hello once the client has.
  class Greeter : public ExchangeSender {
   public:
    Greeter(std::shared_ptr<FakeConnection> connection, ExchangeMessage hello)
        : connection_(std::move(connection)), hello_(std::move(hello)) {}
    void Send(ExchangeMessage message, int priority) override {
      const bool greeting = message.kind == MessageKind::kHello;
      if (!greeting) return connection_->Send(std::move(message), priority);
      connection_->Answer(hello_);
    }
    void Flush() override {}
    void Grant(int64_t) override {}
    void Close(absl::Status reason) override { connection_->Close(std::move(reason)); }

   private:
    const std::shared_ptr<FakeConnection> connection_;
    const ExchangeMessage hello_;
  };

  const ShardLayout layout_ = MakeLayout();
  const std::shared_ptr<PulledWeights> weights_ =
      std::make_shared<PulledWeights>(layout_, std::vector<ReplicaRange>{kReplicas});
  ParameterClientOptions options_;
  FakeServers servers_;
  std::unique_ptr<ParameterClient> client_;
};

TEST_F(ParameterClientTest, KeepsAGradientUntilTheWeightsThatAnswerItHaveCome) {
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  Install(&server, 0);
  const std::weak_ptr<const TensorBuffer> part = Push(0, PushReply::kAcknowledgement);
  const std::weak_ptr<const TensorBuffer> last = Push(0);
  const ExchangeMessage push = server.WaitFor(4)[3];
  server.WaitFor(4).clear();
  server.Answer(Reply(MessageKind::kAck, push));
  server.Answer(Weights(push, 0));  // once more what had come before
  EXPECT_GT(part.use_count(), 1);   // the fake server's, and the client's
  const long with_client = last.use_count();
  server.Answer(Weights(push, 1));
  EXPECT_EQ(last.use_count(), with_client - 1);
}

TEST_F(ParameterClientTest, AsksWhatBecameOfAPushWithItsHeaderAlone) {
  options_.first_wait = absl::Milliseconds(20);
  options_.lease = absl::Milliseconds(40);
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  Install(&server, 0);
  Push(0);
  // Reads may have been repeated meanwhile: pushes count.
  std::vector<ExchangeMessage> pushes;
  for (size_t count = 3; pushes.size() < 3; ++count) {
    const ExchangeMessage message = server.WaitFor(count).back();
    if (message.kind == MessageKind::kPush) pushes.push_back(message);
  }
  EXPECT_FALSE(pushes[0].probe);
  for (size_t question : {1, 2}) {
    EXPECT_TRUE(pushes[question].probe);
    EXPECT_EQ(pushes[question].tensor.size_bytes(), 0u);
    EXPECT_EQ(pushes[question].replicas, kReplicas);
    EXPECT_EQ(pushes[question].clock, 0);
    EXPECT_TRUE(pushes[question].wants_weights);
    EXPECT_EQ(pushes[question].term, 7);
    EXPECT_EQ(pushes[question].rewind, 3);
  }
}

TEST_F(ParameterClientTest, SendsAnUnknownPushAgainInFullAndWaitsOnForAPendingOne) {
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  Install(&server, 0);
  Push(0);
  const ExchangeMessage push = server.WaitFor(3)[2];
  server.Answer(Reply(MessageKind::kPending, push));
  EXPECT_EQ(client_->retries(), 0);
  server.Answer(Reply(MessageKind::kUnknown, push));
  const ExchangeMessage again = server.WaitFor(4)[3];
  EXPECT_FALSE(again.probe);
  EXPECT_EQ(again.tensor.size_bytes(), kLength * sizeof(float));
  EXPECT_EQ(FirstFloat(again), 2.5F);
  EXPECT_EQ(again.version, push.version);
  EXPECT_EQ(client_->retries(), 1);
}

TEST_F(ParameterClientTest, ReadsAgainWhatIsNotAnswered) {
  options_.first_wait = absl::Milliseconds(20);
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  client_->Request(0, 5, /*settled=*/true);
  const std::vector<ExchangeMessage> reads = server.WaitFor(4);
  EXPECT_EQ(reads[2].kind, MessageKind::kRead);
  EXPECT_EQ(reads[2].clock, 5);
  EXPECT_TRUE(reads[2].settled);
  EXPECT_GE(client_->retries(), 2);
}

TEST_F(ParameterClientTest, OpensABrokenConnectionAgainAndSendsWhatIsOutstanding) {
  ConnectToOne();
  FakeConnection& first = *servers_.Wait(0);
  Install(&first, 0);
  Push(0, PushReply::kAcknowledgement);
  first.WaitFor(3);
  first.Break();
  const std::shared_ptr<FakeConnection> second = servers_.Wait(1);
  ASSERT_NE(second, nullptr);
  const ExchangeMessage again = second->WaitFor(1)[0];
  EXPECT_EQ(again.kind, MessageKind::kPush);
  EXPECT_EQ(FirstFloat(again), 2.5F);
  EXPECT_FALSE(again.wants_weights);
  // And what is pushed while there is no connection.
  second->Break();
  const ExchangeMessage third = servers_.Wait(2)->WaitFor(1)[0];
  EXPECT_EQ(third.kind, MessageKind::kPush);
}

TEST_F(ParameterClientTest, GivesUpAServerThatStaysAwayInOneLine) {
  options_.patience = absl::Milliseconds(100);
  Create({Server(1, {0, 1})});
  const absl::Status connected = client_->Connect(
      [&](const ServerPeer& server,
          std::shared_ptr<ExchangeReceiver> receiver) -> std::shared_ptr<ExchangeSender> {
        const bool first = servers_.opened() == 0;
        auto connection =
            std::static_pointer_cast<FakeConnection>(servers_.Open(server, std::move(receiver)));
        if (!first) return connection;  // never says hello
        return std::make_shared<Greeter>(connection, Hello(options_.term));
      },
      kPatience);
  ASSERT_TRUE(connected.ok()) << connected;
  servers_.Wait(0)->Break();
  const absl::Status ended = weights_->Wait(0, 0, 0, absl::Now() + kPatience).status();
  EXPECT_EQ(ended, absl::UnavailableError("lost server 1 for 100ms: broken by the test"));
}

TEST_F(ParameterClientTest, WaitsOnForAServerWhileTheJobIsParked) {
  options_.patience = absl::Milliseconds(50);
  options_.lease = absl::Milliseconds(10);
  std::atomic<int> asked{0};
  options_.parked = [&asked] { return ++asked > 0; };
  Create({Server(1, {0, 1})});
  const absl::Status status = client_->Connect(
      [&](const ServerPeer& server,
          std::shared_ptr<ExchangeReceiver> receiver) -> std::shared_ptr<ExchangeSender> {
        auto connection =
            std::static_pointer_cast<FakeConnection>(servers_.Open(server, std::move(receiver)));
        if (asked < 2) return connection;  // never says hello
        return std::make_shared<Greeter>(connection, Hello(options_.term));
      },
      kPatience);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_GE(asked, 2);
}

TEST_F(ParameterClientTest, TellsOnceThatTheMapHasChangedAndSendsAllAgainUnderTheNewTerm) {
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  Mutex mutex;
  CondVar changed;
  int stale = 0;
  client_->set_on_stale([&] {
    MutexLock lock(&mutex);
    ++stale;
    changed.NotifyAll();
  });
  Install(&server, 0);
  Push(0);
  const ExchangeMessage push = server.WaitFor(3)[2];
  ExchangeMessage refusal = Reply(MessageKind::kError, push);
  refusal.error = absl::AbortedError("the map has changed");
  server.Answer(refusal);
  server.Answer(refusal);
  {
    MutexLock lock(&mutex);
    const absl::Time deadline = absl::Now() + kPatience;
    while (stale == 0 && absl::Now() < deadline) changed.WaitWithTimeout(&mutex, deadline - absl::Now());
  }
  ASSERT_TRUE(client_->Adopt(8, {Server(1, {0, 1})}).ok());
  const ExchangeMessage again = server.WaitFor(4)[3];
  EXPECT_EQ(again.term, 8);
  EXPECT_EQ(again.rewind, 3);
  EXPECT_EQ(FirstFloat(again), 2.5F);
  EXPECT_EQ(servers_.opened(), 1u);  // the connection stays
  MutexLock lock(&mutex);
  EXPECT_EQ(stale, 1);
}

TEST_F(ParameterClientTest, MovesToTheServersOfANewMap) {
  Create({Server(1, {0}), Server(2, {1})});
  Connect();
  FakeConnection* first = servers_.Wait(0).get();
  FakeConnection* second = servers_.Wait(1).get();
  client_->Request(0, 0, false);
  first->WaitFor(1);
  second->WaitFor(1);
  options_.term = 8;  // of later hellos
  ASSERT_TRUE(client_->Adopt(8, {Server(1, {0}), Server(3, {1})}).ok());
  EXPECT_TRUE(second->WaitForClose());
  const std::shared_ptr<FakeConnection> third = servers_.Wait(2);
  ASSERT_NE(third, nullptr);
  EXPECT_EQ(third->server(), "server 3");
  const ExchangeMessage read = third->WaitFor(1)[0];
  EXPECT_EQ(read.shard, 1);
  EXPECT_EQ(read.term, 8);
  EXPECT_EQ(first->WaitFor(2)[1].term, 8);
}

TEST_F(ParameterClientTest, RefusesAMapThatLeavesAShardOutAndStaysAsItWas) {
  ConnectToOne();
  EXPECT_EQ(client_->Adopt(8, {Server(1, {0})}).code(), absl::StatusCode::kInvalidArgument);
  client_->Request(0, 0, false);
  EXPECT_EQ(servers_.Wait(0)->WaitFor(1)[0].term, 7);
}

TEST_F(ParameterClientTest, AServerThatIsNotReadyYetIsAskedAgainLater) {
  options_.first_wait = absl::Milliseconds(20);
  options_.lease = absl::Milliseconds(40);
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  client_->Request(0, 0, false);
  const ExchangeMessage read = server.WaitFor(1)[0];
  ExchangeMessage refusal = Reply(MessageKind::kError, read);
  refusal.error = absl::UnavailableError("not yet");
  server.Answer(refusal);
  EXPECT_EQ(server.WaitFor(3)[2].kind, MessageKind::kRead);
}

TEST_F(ParameterClientTest, AnyOtherRefusalEndsTheWait) {
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  client_->Request(0, 0, false);
  ExchangeMessage refusal = Reply(MessageKind::kError, server.WaitFor(1)[0]);
  refusal.error = absl::FailedPreconditionError("version 0 is gone");
  server.Answer(refusal);
  const absl::Status status = weights_->Wait(0, 0, 0, absl::Now() + kPatience).status();
  EXPECT_EQ(status.message(), "server 1: version 0 is gone");
}

TEST_F(ParameterClientTest, IgnoresWeightsOfAnotherTimeline) {
  ConnectToOne();
  FakeConnection& server = *servers_.Wait(0);
  client_->Request(0, 0, false);
  ExchangeMessage stale = Weights(server.WaitFor(1)[0], 0);
  stale.rewind = 2;
  server.Answer(std::move(stale));
  EXPECT_FALSE(weights_->Has(0, 0, 0));
}

TEST_F(ParameterClientTest, KnowsTheSmallestAndTheLargestClockOverAllServers) {
  Create({Server(1, {0}), Server(2, {1}), Server(3, {})});
  Connect({{"server 1", {{4, 5}, {4, 4}}}, {"server 2", {{5, 5}, {3, 6}}}, {"server 3", {{0, 0}, {0, 0}}}});
  EXPECT_EQ(client_->NextClock(0), (ClockRange{4, 5}));
  EXPECT_EQ(client_->NextClock(1), (ClockRange{3, 6}));
}

TEST_F(ParameterClientTest, DoesNotBeginAtTheClocksOfAServerThatIsBehindTheMap) {
  Create({Server(1, {0, 1})});
  std::atomic<int> opened{0};
  const absl::Status status = client_->Connect(
      [&](const ServerPeer& server, std::shared_ptr<ExchangeReceiver> receiver) {
        auto connection =
            std::static_pointer_cast<FakeConnection>(servers_.Open(server, std::move(receiver)));
        const bool first = ++opened == 1;
        return std::make_shared<Greeter>(connection, first ? Hello(6, {{9, 9}}) : Hello(7, {{2, 3}}));
      },
      kPatience);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(client_->NextClock(0), (ClockRange{2, 3}));
}

}  // namespace
}  // namespace tessera
