// The exchange between clients and a server, over every transport: the same messages, the same answers.
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "common/in_process_exchange.h"
#include "common/rpc/channel.h"
#include "common/rpc/exchange_client.h"
#include "common/rpc/shard_reader.h"
#include "common/shared_memory/outbox.h"
#include "proto/parameter_service.grpc.pb.h"
#include "server/grpc_exchange_server.h"
#include "server/parameter_service.h"
#include "tests/integration/test_peer.h"

namespace tessera {
namespace {

constexpr size_t kLength = 1000;

std::shared_ptr<ParameterStore> MakeTestStore(const ConsistencyOptions& consistency,
                                              std::shared_ptr<TensorMemory> version_memory = nullptr) {
  ParameterBlock block;
  block.layer = "fc";
  block.parameters.push_back({"fc.weight", {2, static_cast<int64_t>(kLength)}, ParameterKind::kWeight, {}});
  absl::StatusOr<ShardLayout> layout = ShardLayout::Create({block}, kLength * sizeof(float));
  EXPECT_TRUE(layout.ok()) << layout.status();
  ParameterStoreOptions options;
  options.consistency = consistency;
  options.linear_lr_scaling = false;
  options.optimizer = *OptimizerRegistry::Create("optimizer", "sgd", Options({{"lr", "1"}}));
  options.schedule = *CreateSchedule("constant", Options(), ScheduleContext{10, 10});
  options.version_memory = std::move(version_memory);
  absl::StatusOr<std::unique_ptr<ParameterStore>> store = ParameterStore::Create(options, *layout, {0, 1});
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

std::shared_ptr<ParameterStore> MakeTestStore(int32_t replicas) {
  return MakeTestStore({.replicas = replicas, .group = replicas});
}

class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::shared_ptr<ExchangeSender> Connect(std::shared_ptr<ExchangeReceiver> receiver) = 0;
};

class GrpcTransport : public Transport {
 public:
  explicit GrpcTransport(std::shared_ptr<ParameterService> service)
      : server_(*GrpcExchangeServer::Start({}, std::move(service), 2)) {}
  std::shared_ptr<ExchangeSender> Connect(std::shared_ptr<ExchangeReceiver> receiver) override {
    return client_.Open(server_->address(), std::move(receiver));
  }

 private:
  std::unique_ptr<GrpcExchangeServer> server_;
  ExchangeClient client_;
};

// Puts tensors where peers can read them, as a worker's gradients are from the start.
class SharingSender : public ExchangeSender {
 public:
  SharingSender(std::shared_ptr<ExchangeSender> sender, std::shared_ptr<BufferPool> pool)
      : sender_(std::move(sender)), pool_(std::move(pool)) {}
  void Send(ExchangeMessage message, int priority) override {
    if (message.tensor.size_bytes() > 0) {
      const std::shared_ptr<TensorBuffer> shared = pool_->Take(message.tensor.size_bytes() / sizeof(float));
      message.tensor.CopyTo(shared->span());
      message.tensor = TensorBytes(shared);
    }
    sender_->Send(std::move(message), priority);
  }
  void Flush() override { sender_->Flush(); }
  void Grant(int64_t bytes) override { sender_->Grant(bytes); }
  void Close(absl::Status reason) override { sender_->Close(std::move(reason)); }

 private:
  const std::shared_ptr<ExchangeSender> sender_;
  const std::shared_ptr<BufferPool> pool_;
};

constexpr size_t kOutboxBytes = size_t{4} << 20;

class SharedMemoryTransport : public Transport {
 public:
  SharedMemoryTransport(std::shared_ptr<ParameterService> service, std::shared_ptr<Outbox> server_outbox)
      : server_(*GrpcExchangeServer::Start({}, std::move(service), 2)) {
    server_->set_outbox(std::move(server_outbox));
  }
  std::shared_ptr<ExchangeSender> Connect(std::shared_ptr<ExchangeReceiver> receiver) override {
    return std::make_shared<SharingSender>(client_.Open(server_->address(), std::move(receiver)), pool_);
  }

 private:
  std::unique_ptr<GrpcExchangeServer> server_;
  const std::shared_ptr<Outbox> outbox_ = *Outbox::Create(kOutboxBytes);
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>(0, outbox_->segment());
  ExchangeClient client_{outbox_};
};

class InProcessTransport : public Transport {
 public:
  explicit InProcessTransport(std::shared_ptr<ParameterService> service)
      : service_(std::move(service)), network_(0) {}
  std::shared_ptr<ExchangeSender> Connect(std::shared_ptr<ExchangeReceiver> receiver) override {
    const InProcessNetwork::Connection connection = network_.Connect();
    network_.Start(connection, std::move(receiver), service_->NewSession(connection.server));
    return connection.client;
  }

 private:
  const std::shared_ptr<ParameterService> service_;
  InProcessNetwork network_;
};

// Whether `condition` holds within 20 s.
bool Eventually(const std::function<bool()>& condition) {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (!condition()) {
    if (absl::Now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

enum class Kind { kGrpc, kGrpcSharedMemory, kInProcess };

class Exchange : public ::testing::TestWithParam<Kind> {
 protected:
  std::shared_ptr<ParameterStore> Store(const ConsistencyOptions& consistency) {
    return MakeTestStore(consistency, outbox_->segment());
  }
  std::shared_ptr<ParameterStore> Store(int32_t replicas) {
    return Store({.replicas = replicas, .group = replicas});
  }
  void Start(std::shared_ptr<ParameterStore> store, int64_t term = 1) {
    service_ = ParameterService::Create();
    if (store != nullptr) service_->Adopt(std::move(store), term);
    if (GetParam() == Kind::kGrpc) {
      transport_ = std::make_unique<GrpcTransport>(service_);
    } else if (GetParam() == Kind::kGrpcSharedMemory) {
      transport_ = std::make_unique<SharedMemoryTransport>(service_, outbox_);
    } else {
      transport_ = std::make_unique<InProcessTransport>(service_);
    }
  }
  void TearDown() override {
    if (service_ != nullptr) service_->Close();
  }

  struct Client {
    std::shared_ptr<RecordingPeer> peer = std::make_shared<RecordingPeer>();
    std::shared_ptr<ExchangeSender> sender;
  };
  Client Connect() {
    Client client;
    client.sender = transport_->Connect(client.peer);
    client.sender->Send(Hello());
    return client;
  }

  // Whether so many reads wait, within 20 s.
  bool Waiting(size_t reads) const {
    return Eventually([&] { return service_->store()->parked_reads() == reads; });
  }

  const std::shared_ptr<Outbox> outbox_ = *Outbox::Create(kOutboxBytes);  // the server's
  std::shared_ptr<ParameterService> service_;
  std::unique_ptr<Transport> transport_;
};

std::vector<float> Values(const ExchangeMessage& message) {
  std::vector<float> values(message.tensor.size_bytes() / sizeof(float));
  message.tensor.CopyTo(absl::MakeSpan(values));
  return values;
}

TEST_P(Exchange, APushIsAnsweredWithTheNextVersionOnceTheRoundIsComplete) {
  Start(Store(2));
  Client first = Connect();
  Client second = Connect();
  ASSERT_EQ(first.peer->WaitForMessages(1)[0].kind, MessageKind::kHello);
  ASSERT_EQ(second.peer->WaitForMessages(1)[0].kind, MessageKind::kHello);
  first.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));
  second.sender->Send(Push(0, {1, 1}, 0, kLength, 3.0f));
  for (Client* client : {&first, &second}) {
    const std::vector<ExchangeMessage> messages = client->peer->WaitForMessages(2);
    ASSERT_EQ(messages.size(), 2u);
    EXPECT_EQ(messages[1].kind, MessageKind::kWeights);
    EXPECT_EQ(messages[1].version, 1);
    EXPECT_EQ(messages[1].clock, 1);
    EXPECT_EQ(Values(messages[1]), std::vector<float>(kLength, -2.0f)) << "lr 1, mean gradient 2";
  }
  EXPECT_EQ(service_->stats().pushed_bytes, static_cast<int64_t>(2 * kLength * sizeof(float)));
}

TEST_P(Exchange, APushOfAClosedRoundIsAnsweredDroppedWithTheRoundToJumpTo) {
  Start(Store({.replicas = 3, .group = 3, .drop_stragglers = 1}));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Push(0, {0, 1}, 0, kLength, 2.0f));
  client.sender->Send(Push(0, {0, 1}, 1, kLength, 2.0f));
  ASSERT_EQ(client.peer->WaitForMessages(3).size(), 3u);
  client.sender->Send(Push(0, {2, 2}, 0, kLength, 9.0f));
  const ExchangeMessage dropped = client.peer->WaitForMessages(4).at(3);
  EXPECT_EQ(dropped.kind, MessageKind::kDropped);
  EXPECT_EQ(dropped.shard, 0);
  EXPECT_EQ(dropped.replicas, (ReplicaRange{2, 2}));
  EXPECT_EQ(dropped.clock, 0);
  EXPECT_EQ(dropped.version, 2);
  EXPECT_EQ(dropped.tensor.size_bytes(), 0u);
  client.sender->Send(Read(0, 2, dropped.version));
  const std::vector<ExchangeMessage> messages = client.peer->WaitForMessages(5);
  ASSERT_EQ(messages.size(), 5u);  // nothing else answered the push, though it wanted weights
  EXPECT_EQ(messages[4].kind, MessageKind::kWeights);
  EXPECT_EQ(Values(messages[4]), std::vector<float>(kLength, -2.0f)) << "two rounds, mean 1, without the 9";
  EXPECT_EQ(service_->stats().refused_messages, 0);
}

TEST_P(Exchange, SettledReadsAndPushesWaitForEveryGroup) {
  Start(Store({.replicas = 2, .group = 1, .staleness = ConsistencyOptions::kUnbounded}));
  Client fast = Connect();
  Client slow = Connect();
  ASSERT_EQ(fast.peer->WaitForMessages(1).size(), 1u);
  ASSERT_EQ(slow.peer->WaitForMessages(1).size(), 1u);
  ExchangeMessage last = Push(0, {0, 0}, 0, kLength, 1.0f);
  last.settled = true;
  ExchangeMessage read = Read(0, 0, 1);
  read.settled = true;
  fast.sender->Send(last);
  fast.sender->Send(read);
  fast.sender->Send(Read(0, 0, 1));  // this one waits for its own group alone
  EXPECT_EQ(fast.peer->WaitForMessages(2).at(1).version, 1);
  EXPECT_EQ(service_->store()->parked_reads(), 1u) << "one for each shard and replica";
  slow.sender->Send(Push(0, {1, 1}, 0, kLength, 1.0f));
  const std::vector<ExchangeMessage> messages = fast.peer->WaitForMessages(3);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[2].kind, MessageKind::kWeights);
  EXPECT_EQ(messages[2].version, 2);
  EXPECT_EQ(messages[2].clock, 1);
}

TEST_P(Exchange, BadMessagesAreAnsweredAndTheServerServesOn) {
  Start(Store(2));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  ExchangeMessage answer_of_a_server = Read(0, 0, 0);
  answer_of_a_server.kind = MessageKind::kWeights;
  const std::vector<std::pair<ExchangeMessage, absl::StatusCode>> bad = {
      {Push(0, {0, 0}, 0, kLength - 1, 1.0f), absl::StatusCode::kInvalidArgument},  // wrong length
      {Push(0, {5, 5}, 0, kLength, 1.0f), absl::StatusCode::kInvalidArgument},      // unknown replica
      {Push(0, {0, 0}, 3, kLength, 1.0f), absl::StatusCode::kFailedPrecondition},   // a clock that skips
      {Push(0, {0, 0}, -1, kLength, 1.0f), absl::StatusCode::kInvalidArgument},
      {Push(77, {0, 0}, 0, kLength, 1.0f), absl::StatusCode::kNotFound},  // a shard not held
      {Push(-1, {0, 0}, 0, kLength, 1.0f), absl::StatusCode::kNotFound},
      {Read(0, -3, 0), absl::StatusCode::kInvalidArgument},
      {Read(77, 0, 0), absl::StatusCode::kNotFound},
      {Hello(), absl::StatusCode::kFailedPrecondition},  // a second hello
      {answer_of_a_server, absl::StatusCode::kInvalidArgument},
  };
  size_t expected = 1;
  for (const auto& [message, code] : bad) {
    client.sender->Send(message);
    const std::vector<ExchangeMessage> messages = client.peer->WaitForMessages(++expected);
    ASSERT_EQ(messages.size(), expected);
    EXPECT_EQ(messages.back().kind, MessageKind::kError);
    EXPECT_EQ(messages.back().error.code(), code) << messages.back().error;
  }
  EXPECT_EQ(service_->stats().refused_messages, static_cast<int64_t>(bad.size()));
  client.sender->Send(Read(0, 0, 0));
  EXPECT_EQ(client.peer->WaitForMessages(expected + 1).back().kind, MessageKind::kWeights);
  EXPECT_EQ(service_->store()->VersionRange().second, 0) << "nothing of it was applied";
}

TEST_P(Exchange, AnotherProtocolVersionIsRefusedWithBothVersions) {
  Start(Store(1));
  Client client;
  client.sender = transport_->Connect(client.peer);
  client.sender->Send(Hello(kProtocolVersion + 1));
  const absl::Status end = client.peer->WaitForEnd();
  EXPECT_EQ(end.code(), absl::StatusCode::kFailedPrecondition) << end;
  const std::string versions =
      absl::StrCat("speaks protocol ", kProtocolVersion + 1, ", this server ", kProtocolVersion);
  EXPECT_NE(std::string(end.message()).find(versions), std::string::npos) << end;
}

TEST_P(Exchange, AHelloIsHeldBackUntilTheShardsAreThere) {
  Start(nullptr);
  Client client = Connect();
  service_->Adopt(Store(1), 1);
  EXPECT_EQ(client.peer->WaitForMessages(1).at(0).kind, MessageKind::kHello);
}

TEST_P(Exchange, ThousandsOfParkedReadsNeedNoFurtherThread) {
  constexpr int32_t kReads = 5000;
  const auto threads = [] {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) ++count;
    return count;
  };
  Start(Store(kReads));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Read(0, 0, 0));  // whatever threads the transport needs are there after this answer
  ASSERT_EQ(client.peer->WaitForMessages(2).size(), 2u);
  const size_t before = threads();
  for (ReplicaId replica = 0; replica < kReads; ++replica) client.sender->Send(Read(0, replica, 1));
  client.sender->Send(Read(1, 0, 0));  // answered at once, after all of them were parked
  ASSERT_EQ(client.peer->WaitForMessages(3).back().shard, 1);
  EXPECT_EQ(service_->store()->parked_reads(), static_cast<size_t>(kReads));
  // gRPC's own poller may come or go; thousands of reads must not.
  EXPECT_LE(threads(), before + 2);
  ExchangeMessage push = Push(0, {0, kReads - 1}, 0, kLength, 1.0f);
  push.wants_weights = false;
  client.sender->Send(push);
  EXPECT_EQ(client.peer->WaitForMessages(3 + kReads + 1).size(), size_t{3 + kReads + 1});
  EXPECT_EQ(service_->store()->parked_reads(), 0u);
}

TEST_P(Exchange, MessagesOfAnotherTermAreRefusedBeforeAnythingElse) {
  Start(Store(1), /*term=*/5);
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).at(0).term, 5);
  ExchangeMessage old = Push(77, {9, 9}, -3, 1, 1.0f);  // whatever else is wrong with it
  old.term = 4;
  ExchangeMessage early = old;
  early.term = 6;
  client.sender->Send(old);
  client.sender->Send(early);
  const std::vector<ExchangeMessage> messages = client.peer->WaitForMessages(3);
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[1].error.code(), absl::StatusCode::kAborted) << messages[1].error;
  EXPECT_EQ(messages[1].term, 5) << "so that the client knows which map to wait for";
  EXPECT_EQ(messages[1].shard, 77);
  EXPECT_EQ(messages[2].error.code(), absl::StatusCode::kUnavailable) << messages[2].error;
  EXPECT_EQ(messages[2].term, 6);
  ExchangeMessage latest = Read(0, 0, 0);
  latest.latest = true;
  latest.term = 0;
  client.sender->Send(latest);
  EXPECT_EQ(client.peer->WaitForMessages(4).back().kind, MessageKind::kWeights) << "whatever the map";
}

TEST_P(Exchange, WhenReplicasMoveConnectionsShardsAndWaitingReadsStay) {
  Start(Store(2));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));
  ASSERT_TRUE(Waiting(1));
  service_->Adopt(service_->store(), 2);
  client.sender->Send(Push(0, {1, 1}, 0, kLength, 3.0f));  // of term 1
  ASSERT_EQ(client.peer->WaitForMessages(2).back().error.code(), absl::StatusCode::kAborted);
  Client heir = Connect();
  EXPECT_EQ(heir.peer->WaitForMessages(1).at(0).term, 2);
  ExchangeMessage push = Push(0, {1, 1}, 0, kLength, 3.0f);
  push.term = 2;
  heir.sender->Send(push);
  EXPECT_EQ(heir.peer->WaitForMessages(2).back().version, 1);
  EXPECT_EQ(client.peer->WaitForMessages(3).back().kind, MessageKind::kWeights) << "it had waited";
}

TEST_P(Exchange, ARewindDropsTheShardsAndAllThatWaitedAndKeepsConnections) {
  Start(Store(2));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));
  ASSERT_TRUE(Waiting(1));
  const std::weak_ptr<ParameterStore> old = service_->store();
  service_->Adopt(nullptr, 2);
  // The transport's thread may still be on its way out of the last message.
  EXPECT_TRUE(Eventually([&] { return old.expired(); })) << "room for the new shards";

  ExchangeMessage push = Push(0, {0, 1}, 0, kLength, 4.0f);
  client.sender->Send(push);
  EXPECT_EQ(client.peer->WaitForMessages(2).back().error.code(), absl::StatusCode::kAborted);
  push.term = 2;
  client.sender->Send(push);
  EXPECT_EQ(client.peer->WaitForMessages(3).back().error.code(), absl::StatusCode::kUnavailable);
  ExchangeMessage latest = Read(0, 0, 0);
  latest.latest = true;
  client.sender->Send(latest);
  EXPECT_EQ(client.peer->WaitForMessages(4).back().error.code(), absl::StatusCode::kUnavailable);
  Client early = Connect();

  service_->Adopt(Store(2), 2);
  EXPECT_EQ(early.peer->WaitForMessages(1).at(0).term, 2);
  client.sender->Send(push);
  const std::vector<ExchangeMessage> messages = client.peer->WaitForMessages(5);
  ASSERT_EQ(messages.size(), 5u) << "what waited at the old shards is not answered";
  EXPECT_EQ(messages.back().version, 1);
  EXPECT_EQ(Values(messages.back()), std::vector<float>(kLength, -2.0f)) << "nothing of before counts";
}

TEST_P(Exchange, AServerThatIsNobodyClosesItsSessionsAndLetsNewOnesWait) {
  Start(Store(1), /*term=*/5);
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  const std::weak_ptr<ParameterStore> old = service_->store();
  service_->Reset(absl::UnavailableError("declared dead"));
  EXPECT_EQ(client.peer->WaitForEnd().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Eventually([&] { return old.expired(); }));
  EXPECT_EQ(service_->store(), nullptr);
  Client next = Connect();
  service_->Adopt(Store(1), 9);
  EXPECT_EQ(next.peer->WaitForMessages(1).at(0).term, 9);
}

TEST_P(Exchange, TheHelloTellsWhereEachReplicaGoesOn) {
  Start(Store({.replicas = 4, .group = 2, .staleness = 8}));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Push(0, {0, 1}, 0, kLength, 1.0f));
  client.sender->Send(Push(1, {0, 1}, 0, kLength, 1.0f));
  client.sender->Send(Push(0, {0, 1}, 1, kLength, 1.0f));
  client.sender->Send(Push(1, {2, 2}, 0, kLength, 1.0f));  // held
  ASSERT_EQ(client.peer->WaitForMessages(4).size(), 4u);
  ASSERT_TRUE(Waiting(1));
  const std::vector<ClockRange> clocks = Connect().peer->WaitForMessages(1).at(0).next_clocks;
  EXPECT_EQ(clocks, (std::vector<ClockRange>{{1, 2}, {1, 2}, {0, 0}, {0, 0}}));
}

ExchangeMessage Probe(ShardId shard, ReplicaRange replicas, Clock clock) {
  ExchangeMessage probe = Push(shard, replicas, clock, 0, 0);
  probe.tensor = {};
  probe.probe = true;
  return probe;
}

TEST_P(Exchange, AProbeIsToldWhatBecameOfAPush) {
  Start(Store(2));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  size_t answers = 1;
  const auto probe = [&](ReplicaRange replicas, bool wants_weights) {
    ExchangeMessage message = Probe(0, replicas, 0);
    message.wants_weights = wants_weights;
    client.sender->Send(message);
    ++answers;
    return client.peer->WaitForMessages(answers).at(answers - 1);
  };
  EXPECT_EQ(probe({0, 0}, true).kind, MessageKind::kUnknown);
  client.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));
  ASSERT_TRUE(Waiting(1)) << "a probe may overtake a tensor";
  const ExchangeMessage pending = probe({0, 0}, true);
  EXPECT_EQ(pending.kind, MessageKind::kPending);
  EXPECT_EQ(pending.replicas, (ReplicaRange{0, 0}));
  EXPECT_EQ(pending.term, 1);
  EXPECT_EQ(probe({0, 0}, false).kind, MessageKind::kPending) << "taken, and may still be lost";
  EXPECT_EQ(probe({0, 1}, true).kind, MessageKind::kUnknown) << "not all of it";
  Client other = Connect();
  other.sender->Send(Push(0, {1, 1}, 0, kLength, 3.0f));
  EXPECT_EQ(client.peer->WaitForMessages(++answers).back().kind, MessageKind::kWeights) << "it had waited";
  const ExchangeMessage weights = probe({0, 0}, true);
  EXPECT_EQ(weights.kind, MessageKind::kWeights);
  EXPECT_EQ(Values(weights), std::vector<float>(kLength, -2.0f));
  EXPECT_EQ(probe({0, 0}, false).kind, MessageKind::kAck);
  EXPECT_EQ(client.peer->WaitForMessages(answers).size(), answers) << "nothing was answered twice";
}

TEST_P(Exchange, AProbeOfAnAppliedPushWhoseWeightsMayNotBeReadYetIsPending) {
  Start(Store({.replicas = 2, .group = 1, .staleness = 0}));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));
  ASSERT_TRUE(Waiting(1));
  client.sender->Send(Probe(0, {0, 0}, 0));
  EXPECT_EQ(client.peer->WaitForMessages(2).at(1).kind, MessageKind::kPending);
  client.sender->Send(Push(0, {1, 1}, 0, kLength, 1.0f));
  EXPECT_EQ(client.peer->WaitForMessages(3).at(2).kind, MessageKind::kWeights);
}

TEST_P(Exchange, AProbeOfAClosedRoundIsToldOfTheDrop) {
  Start(Store({.replicas = 3, .group = 3, .drop_stragglers = 1}));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Push(0, {0, 1}, 0, kLength, 2.0f));
  ASSERT_EQ(client.peer->WaitForMessages(2).size(), 2u);
  client.sender->Send(Probe(0, {2, 2}, 0));
  const ExchangeMessage dropped = client.peer->WaitForMessages(3).at(2);
  EXPECT_EQ(dropped.kind, MessageKind::kDropped);
  EXPECT_EQ(dropped.version, 1);
}

TEST_P(Exchange, ABadProbeIsRefusedAsThePushWouldBe) {
  Start(Store(2));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Probe(77, {0, 0}, 0));
  client.sender->Send(Probe(0, {5, 5}, 0));
  client.sender->Send(Probe(0, {0, 0}, 3));
  const std::vector<ExchangeMessage> messages = client.peer->WaitForMessages(4);
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[1].error.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(messages[2].error.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(messages[3].error.code(), absl::StatusCode::kFailedPrecondition);
}

TEST_P(Exchange, AClientThatRepeatsForEverHoldsOnePlaceAndIsAnsweredOnce) {
  Start(Store(2));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  for (int i = 0; i < 50; ++i) {
    client.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));
    ASSERT_TRUE(Waiting(1));
    client.sender->Send(Probe(0, {0, 0}, 0));
  }
  ASSERT_EQ(client.peer->WaitForMessages(51).size(), 51u);
  EXPECT_EQ(service_->store()->parked_reads(), 1u);
  client.sender->Send(Push(0, {1, 1}, 0, kLength, 3.0f));
  const std::vector<ExchangeMessage> messages = client.peer->WaitForMessages(53);
  ASSERT_EQ(messages.size(), 53u);  // for replica 0 and for replica 1
  EXPECT_EQ(Values(messages.back()), std::vector<float>(kLength, -2.0f)) << "added once";
}

TEST_P(Exchange, WhatAClosedConnectionWaitedForHoldsNoPlace) {
  Start(Store(2));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  client.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));
  ASSERT_TRUE(Waiting(1));
  client.sender->Close(absl::CancelledError("gone"));
  EXPECT_TRUE(Waiting(0));
}

TEST_P(Exchange, AClientThatGrantsNoCreditGetsNoTensorsAndHoldsUpNobody) {
  Start(Store(2));
  Client greedy;
  greedy.sender = transport_->Connect(greedy.peer);
  greedy.sender->Send(Hello(kProtocolVersion, 0));
  ASSERT_EQ(greedy.peer->WaitForMessages(1).size(), 1u);
  for (int i = 0; i < 10; ++i) greedy.sender->Send(Read(0, 0, 0));
  Client other = Connect();
  ASSERT_EQ(other.peer->WaitForMessages(1).size(), 1u);
  other.sender->Send(Read(0, 1, 0));
  EXPECT_EQ(other.peer->WaitForMessages(2).back().kind, MessageKind::kWeights);
  ExchangeMessage bad = Push(9, {0, 0}, 0, kLength, 1.0f);  // small answers need no credit
  greedy.sender->Send(bad);
  const std::vector<ExchangeMessage> messages = greedy.peer->WaitForMessages(2);
  ASSERT_EQ(messages.size(), 2u);
  EXPECT_EQ(messages.back().kind, MessageKind::kError);
}

TEST_P(Exchange, WhatMayWaitForOthersLeavesWithTheNextMessageOrOnFlush) {
  Start(Store(1));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  const auto push = [](ShardId shard, Clock clock, bool may_wait) {
    ExchangeMessage message = Push(shard, {0, 0}, clock, kLength, 1.0f);
    message.version = clock;
    message.may_wait = may_wait;
    return message;
  };
  client.sender->Send(push(0, 0, true));
  client.sender->Send(push(1, 0, true));
  client.sender->Flush();
  ASSERT_EQ(client.peer->WaitForMessages(3).size(), 3u) << "flushed";
  client.sender->Send(push(0, 1, true));
  client.sender->Send(push(1, 1, false));
  ASSERT_EQ(client.peer->WaitForMessages(5).size(), 5u) << "with a message that does not wait";
}

TEST_P(Exchange, WhatMayWaitDoesNotWaitWithoutLimit) {
  Start(Store(1));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  constexpr size_t kEnough = (1 << 20) / (kLength * sizeof(float)) + 1;
  for (size_t i = 0; i < kEnough; ++i) {  // the same push again: the server answers each
    ExchangeMessage message = Push(0, {0, 0}, 0, kLength, 1.0f);
    message.may_wait = true;
    client.sender->Send(std::move(message));
  }
  EXPECT_GE(client.peer->WaitForMessages(2).size(), 2u);
}

TEST_P(Exchange, TensorsGoThroughSharedMemoryWhereBothEndsHaveIt) {
  Start(Store(1));
  Client client = Connect();
  ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
  constexpr Clock kRounds = 50;
  for (Clock clock = 0; clock < kRounds; ++clock) {
    ExchangeMessage push = Push(0, {0, 0}, clock, kLength, 1.0f);
    push.version = clock;
    client.sender->Send(std::move(push));
    const std::vector<ExchangeMessage> messages =
        client.peer->WaitForMessages(static_cast<size_t>(clock) + 2);
    ASSERT_EQ(messages.back().version, clock + 1);
    ASSERT_EQ(Values(messages.back()), std::vector<float>(kLength, -1.0f - static_cast<float>(clock)));
  }
  const int64_t bytes = 2 * kRounds * static_cast<int64_t>(kLength * sizeof(float));
  EXPECT_EQ(outbox_->shared_bytes(), GetParam() == Kind::kGrpcSharedMemory ? bytes : 0);
  EXPECT_EQ(service_->stats().pushed_bytes + service_->stats().pulled_bytes, bytes);
}

TEST_P(Exchange, ReconnectsWithWeightsHeldOrUnderWayLeaveNoMemoryWithheld) {
  Start(Store(1));
  std::vector<ExchangeMessage> held;
  for (int i = 0; i < 20; ++i) {
    Client client = Connect();
    ASSERT_EQ(client.peer->WaitForMessages(1).size(), 1u);
    client.sender->Send(Push(0, {0, 0}, 0, kLength, 1.0f));  // the same again: the server answers each
    const std::vector<ExchangeMessage> messages = client.peer->WaitForMessages(2);
    ASSERT_EQ(messages.size(), 2u);
    held.push_back(messages.back());
    for (int k = 0; k < 5; ++k) client.sender->Send(Read(1, 0, 0));
    client.sender->Close(absl::CancelledError("the test reconnects"));
    EXPECT_EQ(client.peer->WaitForEnd().code(), absl::StatusCode::kCancelled);
  }
  held.clear();
  Client last = Connect();
  size_t answers = 1;
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  do {  // the server notices the ends in its own time
    last.sender->Send(Read(0, 0, 0));
    ASSERT_EQ(last.peer->WaitForMessages(++answers).size(), answers);
  } while (outbox_->withheld() > 0 && absl::Now() < deadline);
  EXPECT_EQ(outbox_->withheld(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Transports, Exchange,
                         ::testing::Values(Kind::kGrpc, Kind::kGrpcSharedMemory, Kind::kInProcess),
                         [](const auto& info) {
                           switch (info.param) {
                             case Kind::kGrpc:
                               return "Grpc";
                             case Kind::kGrpcSharedMemory:
                               return "GrpcSharedMemory";
                             default:
                               return "InProcess";
                           }
                         });

// Both ends lose messages, and one cuts connections; shared memory is on.
class GrpcFaultyExchange : public ::testing::Test {
 protected:
  static constexpr Clock kClocks = 20;

  void Start(const FaultOptions& options) {
    service_->Adopt(MakeTestStore({.replicas = 1, .group = 1}, server_outbox_->segment()), 1);
    faults_ = LinkFaults::Create(options);
    server_ = *GrpcExchangeServer::Start({}, service_, 2, nullptr, faults_);
    server_->set_outbox(server_outbox_);
    client_ = std::make_unique<ExchangeClient>(outbox_, std::make_shared<InboundLinks>(), faults_);
  }
  void TearDown() override { service_->Close(); }

  void Connect() {
    peer_ = std::make_shared<RecordingPeer>();
    sender_ = client_->Open(server_->address(), peer_);
    sender_->Send(Hello());
    ASSERT_EQ(peer_->WaitForMessages(1).size(), 1u) << "a hello is never lost";
  }
  bool HasWeights(Clock clock) {
    for (const ExchangeMessage& message : peer_->WaitForMessages(0)) {
      if (message.kind == MessageKind::kWeights && message.clock == clock) return true;
    }
    return false;
  }
  bool WaitForErrors(size_t count) {
    size_t errors = 0;
    for (size_t i = 1; errors < count; ++i) {
      const std::vector<ExchangeMessage> messages = peer_->WaitForMessages(i);
      if (messages.size() < i) return false;
      errors += messages[i - 1].kind == MessageKind::kError ? 1 : 0;
    }
    return true;
  }
  // A push that lies in shared memory, as a worker's.
  ExchangeMessage SharedPush(Clock clock) {
    ExchangeMessage push = Push(0, {0, 0}, clock, kLength, 1.0f);
    const std::shared_ptr<TensorBuffer> shared = pool_->Take(kLength);
    push.tensor.CopyTo(shared->span());
    push.tensor = TensorBytes(shared);
    push.version = clock;
    return push;
  }

  const std::shared_ptr<Outbox> server_outbox_ = *Outbox::Create(kOutboxBytes);
  const std::shared_ptr<Outbox> outbox_ = *Outbox::Create(kOutboxBytes);
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>(0, outbox_->segment());
  const std::shared_ptr<ParameterService> service_ = ParameterService::Create();
  std::shared_ptr<LinkFaults> faults_;
  std::unique_ptr<GrpcExchangeServer> server_;
  std::unique_ptr<ExchangeClient> client_;
  std::shared_ptr<RecordingPeer> peer_;
  std::shared_ptr<ExchangeSender> sender_;
};

TEST_F(GrpcFaultyExchange, WhatIsLostIsSentAgainAndCountsOnce) {
  Start({.loss = 0.3, .seed = 5});
  Connect();
  size_t errors = 0;
  for (Clock clock = 0; clock < kClocks; ++clock) {
    while (!HasWeights(clock + 1)) {
      sender_->Send(SharedPush(clock));
      sender_->Send(Hello());  // a second one is answered by an error, and neither is ever lost
      ASSERT_TRUE(WaitForErrors(++errors));
    }
  }
  EXPECT_EQ(service_->store()->VersionRange().second, kClocks);
  EXPECT_GT(errors, size_t{kClocks}) << "something was lost";
}

TEST_F(GrpcFaultyExchange, AReaderAsksAgainForWhatIsLost) {
  Start({.loss = 0.3, .seed = 7});
  const std::vector<ShardId> shards = {0};
  for (int read = 0; read < 4; ++read) {
    const auto fetched = ReadShards(server_->address(), "reader", shards, absl::Minutes(2));
    ASSERT_TRUE(fetched.ok()) << fetched.status();
    EXPECT_EQ(fetched->front().weights->size(), static_cast<size_t>(kLength));
  }
  EXPECT_FALSE(absl::StrContains(faults_->Summary(), ": 0 of ")) << "something was lost";
}

TEST_F(GrpcFaultyExchange, ReconnectsAfterCutsEndWithEveryPushAppliedOnceAndNothingWithheld) {
  Start({.cut = 0.2, .seed = 6});
  Connect();
  int reconnects = 0;
  for (Clock clock = 0; clock < kClocks; ++clock) {
    while (!HasWeights(clock + 1)) {
      const size_t before = peer_->WaitForMessages(0).size();
      sender_->Send(SharedPush(clock));
      if (peer_->WaitForMessages(before + 1).size() > before) continue;
      ASSERT_FALSE(absl::IsDeadlineExceeded(peer_->WaitForEnd()));
      Connect();
      ++reconnects;
    }
  }
  EXPECT_GT(reconnects, 0);
  EXPECT_EQ(service_->store()->VersionRange().second, kClocks);
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  while (outbox_->withheld() + server_outbox_->withheld() > 0 && absl::Now() < deadline) {
    Connect();
    for (size_t answers = 2; answers < 8; ++answers) {
      sender_->Send(Read(0, 0, kClocks));
      if (peer_->WaitForMessages(answers).size() < answers) break;
    }
  }
  EXPECT_EQ(outbox_->withheld() + server_outbox_->withheld(), 0u);
}

// A call of raw bytes, for methods that we have no generated code for and for bytes that no generated code
// would send.
class RawCall {
 public:
  RawCall(const std::string& address, const std::string& method) : stub_(CreateChannel(address)) {
    SetDeadline(&context_, absl::Seconds(20));
    stream_ = stub_.PrepareCall(&context_, method, &queue_);
    stream_->StartCall(nullptr);
    Wait();
  }
  ~RawCall() { queue_.Shutdown(); }

  // Sends `bytes` as the only message; returns the first answer, or "" when there is none.
  std::string Exchange(const std::string& bytes) {
    grpc::Slice request(bytes);
    stream_->Write(grpc::ByteBuffer(&request, 1), nullptr);
    Wait();
    grpc::ByteBuffer answer;
    stream_->Read(&answer, nullptr);
    grpc::Slice whole;
    if (!Wait() || !answer.TrySingleSlice(&whole).ok()) return "";
    return std::string(whole.begin(), whole.end());
  }

  grpc::Status Finish() {
    stream_->WritesDone(nullptr);
    Wait();
    grpc::Status status;
    stream_->Finish(&status, nullptr);
    Wait();
    return status;
  }

 private:
  bool Wait() {
    void* tag = nullptr;
    bool ok = false;
    queue_.Next(&tag, &ok);
    return ok;
  }
  grpc::GenericStub stub_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
};

// What only a socket can be asked.
class GrpcExchange : public ::testing::Test {
 protected:
  void SetUp() override { Serve(MakeTestStore(2)); }
  void Serve(std::shared_ptr<ParameterStore> store, const ListenOptions& options = {}) {
    service_ = ParameterService::Create();
    service_->Adopt(std::move(store), 1);
    server_ = *GrpcExchangeServer::Start(options, service_, 1);
  }
  wire::ServerStats Stats() {
    auto stub = wire::ParameterService::NewStub(CreateChannel(server_->address()));
    grpc::ClientContext context;
    SetDeadline(&context, absl::Seconds(20));
    wire::ServerStats stats;
    const grpc::Status status = stub->GetStats(&context, wire::GetStatsRequest(), &stats);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return stats;
  }
  std::shared_ptr<ParameterService> service_;
  std::unique_ptr<GrpcExchangeServer> server_;
};

TEST_F(GrpcExchange, BytesThatAreNotAMessageEndTheirStreamWithAReasonAndNothingElse) {
  RawCall call(server_->address(), "/tessera.wire.ParameterService/Exchange");
  EXPECT_EQ(call.Exchange("GET / HTTP/1.1\r\n\r\n"), "");
  const grpc::Status status = call.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("not a ShardFrame"), std::string::npos) << status.error_message();
  const auto shards = ReadShards(server_->address(), "test", {0, 1}, absl::Seconds(20));
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ(shards->size(), 2u);
}

// A raw client that shares memory and says what ours never would.
TEST_F(GrpcExchange, ABadReferenceIntoSharedMemoryEndsItsStreamWithAReasonAndNothingElse) {
  server_->set_outbox(*Outbox::Create(kOutboxBytes));
  const auto outbox = *Outbox::Create(kOutboxBytes);
  const SharedMemoryOffer& offer = outbox->segment()->offer();
  wire::ShardFrame hello;
  wire::ShardHeader* greeting = hello.add_header();
  greeting->set_kind(wire::HELLO);
  greeting->set_protocol_version(kProtocolVersion);
  wire::SharedMemoryOffer* offered = greeting->mutable_shared_memory();
  offered->set_pid(offer.pid);
  offered->set_fd(offer.fd);
  offered->set_bytes(offer.bytes);
  offered->set_token(offer.token);
  wire::ShardFrame push;
  wire::ShardHeader* pushed = push.add_header();
  pushed->set_kind(wire::PUSH);
  pushed->set_term(1);
  wire::SharedTensorReference* tensor = pushed->mutable_shared_tensor();
  tensor->set_sequence(1);
  const std::vector<std::pair<uint64_t, uint64_t>> bad = {
      {offer.bytes, 4000}, {4096, ~uint64_t{0} - 4095}, {4097, 4000}, {0, 4000}, {4096, 0}};
  for (const auto& [offset, bytes] : bad) {
    RawCall call(server_->address(), "/tessera.wire.ParameterService/Exchange");
    wire::ShardFrame answer;
    ASSERT_TRUE(answer.ParseFromString(call.Exchange(hello.SerializeAsString())));
    EXPECT_TRUE(answer.header(0).shared_memory_mapped());
    tensor->set_offset(offset);
    tensor->set_bytes(bytes);
    EXPECT_EQ(call.Exchange(push.SerializeAsString()), "");
    const grpc::Status status = call.Finish();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(status.error_message().find("segment"), std::string::npos) << status.error_message();
  }
  EXPECT_EQ(service_->store()->VersionRange().second, 0) << "nothing of it was applied";
  EXPECT_TRUE(ReadShards(server_->address(), "test", {0}, absl::Seconds(20)).ok());
}

TEST_F(GrpcExchange, AReferenceWithoutSharedMemoryEndsItsStreamWithAReason) {
  RawCall call(server_->address(), "/tessera.wire.ParameterService/Exchange");
  wire::ShardFrame push;
  wire::ShardHeader* pushed = push.add_header();
  pushed->set_kind(wire::PUSH);
  pushed->mutable_shared_tensor()->set_sequence(1);
  EXPECT_EQ(call.Exchange(push.SerializeAsString()), "");
  const grpc::Status status = call.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(status.error_message().find("not agreed on"), std::string::npos) << status.error_message();
}

TEST_F(GrpcExchange, ReadShardsGivesTheNewestVersionsOrSaysWhy) {
  const auto shards = ReadShards(server_->address(), "test", {1, 0}, absl::Seconds(20));
  ASSERT_TRUE(shards.ok()) << shards.status();
  EXPECT_EQ((*shards)[0].shard, 1);
  EXPECT_EQ((*shards)[0].weights->size(), kLength);
  EXPECT_EQ(ReadShards(server_->address(), "test", {7}, absl::Seconds(20)).status().code(),
            absl::StatusCode::kNotFound);
  const std::string address = server_->address();
  server_->Shutdown();
  EXPECT_EQ(ReadShards(address, "test", {0}, absl::Seconds(20)).status().code(),
            absl::StatusCode::kUnavailable);
}

TEST_F(GrpcExchange, AClientMayCloseAtAnyMomentOfAnAnswer) {
  // Each round closes while answers are being delivered; a close that waits for the server would never
  // return.
  for (int round = 0; round < 60; ++round) {
    ExchangeClient client;
    auto peer = std::make_shared<RecordingPeer>();
    const std::shared_ptr<ExchangeSender> sender = client.Open(server_->address(), peer);
    sender->Send(Hello());
    for (int i = 0; i < 20; ++i) sender->Send(Read(i % 2, 0, 0));
    peer->WaitForMessages(static_cast<size_t>(round % 20) + 1);
  }
}

TEST_F(GrpcExchange, StatsAreServedOnTheSamePort) { EXPECT_EQ(Stats().max_version(), 0); }

TensorBytes Ones() { return Push(0, {0, 0}, 0, kLength, 1.0f).tensor; }

TEST_F(GrpcExchange, StatsTellHowOftenEachReplicaWasAppliedAndHowFarAhead) {
  Serve(MakeTestStore({.replicas = 2, .group = 1, .staleness = 2}));
  ParameterStore& store = *service_->store();
  for (const ShardId shard : {0, 1}) ASSERT_TRUE(store.Push({shard, {0, 0}, 0, 0}, Ones()).ok());
  ASSERT_TRUE(store.Push({0, {0, 0}, 1, 1}, Ones()).ok());
  const wire::ServerStats stats = Stats();
  EXPECT_EQ(std::vector<int64_t>(stats.applied_min().begin(), stats.applied_min().end()),
            (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(std::vector<int64_t>(stats.applied_max().begin(), stats.applied_max().end()),
            (std::vector<int64_t>{2, 0}));
  EXPECT_EQ(stats.clock_lead_max(), 1);
  EXPECT_EQ(stats.dropped(), 0);
}

TEST_F(GrpcExchange, StatsCountWhatRoundsDropped) {
  Serve(MakeTestStore({.replicas = 3, .group = 3, .drop_stragglers = 1}));
  for (const ShardId shard : {0, 1}) {
    ASSERT_TRUE(service_->store()->Push({shard, {0, 1}, 0, 0}, Ones()).ok());
  }
  const wire::ServerStats stats = Stats();
  EXPECT_EQ(stats.dropped(), 2);
  EXPECT_EQ(stats.applied_max(2), 0);
}

TEST_F(GrpcExchange, HealthAndReflectionAreThere) {
  RawCall health(server_->address(), "/grpc.health.v1.Health/Check");
  EXPECT_EQ(health.Exchange(""), "\x08\x01") << "HealthCheckResponse { status: SERVING }";
  EXPECT_TRUE(health.Finish().ok());
  RawCall reflection(server_->address(), "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo");
  const std::string services =
      reflection.Exchange("\x3a\x01*");  // ServerReflectionRequest { list_services: "*" }
  EXPECT_NE(services.find("tessera.wire.ParameterService"), std::string::npos);
  EXPECT_TRUE(reflection.Finish().ok());
}

// gRPC's callback API brings threads that poll every connection of the process, and read tensors in turn with
// ours.
TEST_F(GrpcExchange, NoThreadsButOursPollTheStreams) {
  Serve(MakeTestStore(1));
  EXPECT_EQ(Stats().min_version(), 0);
  int threads = 0;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    std::ifstream file(task.path() / "comm");
    std::string name;
    std::getline(file, name);
    EXPECT_NE(name, "nexting_thread");
    ++threads;
  }
  EXPECT_GT(threads, 1);
}

TEST_F(GrpcExchange, AnUnknownServiceHasNoHealth) {
  RawCall health(server_->address(), "/grpc.health.v1.Health/Check");
  health.Exchange("\x0a\x01x");  // HealthCheckRequest { service: "x" }
  EXPECT_EQ(health.Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST(Listener, AnAddressThatNobodyCanReachIsNotAdvertised) {
  for (const ListenOptions& options :
       {ListenOptions{"0.0.0.0:0", ""}, ListenOptions{"127.0.0.1:0", "0.0.0.0"}}) {
    const absl::Status status = Listener::Start(options, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_NE(std::string(status.message()).find("--advertise"), std::string::npos) << status;
  }
  const auto listener = Listener::Start({"0.0.0.0:0", "127.0.0.1"}, {});
  ASSERT_TRUE(listener.ok()) << listener.status();
  EXPECT_EQ((*listener)->address(), absl::StrCat("127.0.0.1:", (*listener)->port()));
}

TEST_F(GrpcExchange, AStreamTooManyIsRefusedAndItsPlaceComesFreeWithAnOthersEnd) {
  ListenOptions options;
  options.max_exchange_streams = 2;
  Serve(MakeTestStore(2), options);
  ExchangeClient client;
  std::vector<std::shared_ptr<RecordingPeer>> peers;
  std::vector<std::shared_ptr<ExchangeSender>> senders;
  const auto open = [&] {
    peers.push_back(std::make_shared<RecordingPeer>());
    senders.push_back(client.Open(server_->address(), peers.back()));
    senders.back()->Send(Hello());
  };
  for (int stream = 0; stream < 2; ++stream) {
    open();
    ASSERT_EQ(peers.back()->WaitForMessages(1).size(), 1U);
  }
  open();
  const absl::Status refusal = peers.back()->WaitForEnd();
  EXPECT_EQ(refusal.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_NE(std::string(refusal.message()).find("2 streams"), std::string::npos) << refusal;
  senders[0]->Close(absl::CancelledError("enough"));
  EXPECT_EQ(peers[0]->WaitForEnd().code(), absl::StatusCode::kCancelled);
  // The server learns of the end a moment later.
  size_t answers = 0;
  for (const absl::Time deadline = absl::Now() + absl::Seconds(20); answers == 0 && absl::Now() < deadline;) {
    open();
    answers = peers.back()->WaitForMessages(1).size();
  }
  EXPECT_EQ(answers, 1U);
}

TEST_F(GrpcExchange, APortInUseIsNamed) {
  ListenOptions options;
  options.bind = server_->address();
  const auto second = GrpcExchangeServer::Start(options, ParameterService::Create(), 1);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_NE(std::string(second.status().message()).find(server_->address()), std::string::npos)
      << second.status();
}

}  // namespace
}  // namespace tessera
