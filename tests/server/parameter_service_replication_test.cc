// What servers say to each other, as a session answers it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "server/parameter_service.h"
#include "server/replication_messages.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

using Action = ConsistencyPolicy::Action;
constexpr int64_t kTerm = 7;
constexpr NodeId kPrimaryNode = 4;

class Sent : public ExchangeSender {
 public:
  void Send(ExchangeMessage message, int) override { messages.push_back(std::move(message)); }
  void Flush() override {}
  void Grant(int64_t bytes) override { granted += bytes; }
  void Close(absl::Status) override {}

  std::vector<ExchangeMessage> messages;
  int64_t granted = 0;
};

class Forwards : public ForwardSink {
 public:
  void Add(ShardForward forward) override { added.push_back(std::move(forward)); }
  void Flush(ShardId) override {}
  std::vector<ShardForward> added;
};

class ServiceOfABackup : public ::testing::Test {
 protected:
  ServiceOfABackup() {
    EXPECT_TRUE(primary_->SetDuties(kTerm, {{kWeights, {.joining = {9}}}, {kStatistics, {}}}).ok());
    EXPECT_TRUE(backup_->SetDuties(kTerm, {{kWeights, {.role = ShardRole::kBackup}}}).ok());
    service_->Adopt(backup_, kTerm, {kPrimaryNode, kPrimaryNode});
  }
  ~ServiceOfABackup() override { service_->Close(); }

  std::shared_ptr<ParameterStore> Make(bool empty = false) {
    auto options = StoreOptions({.replicas = 1, .group = 1}, "adam", {{"lr", "1"}});
    options.forwards = forwards_;
    const std::vector<ShardId> held = empty ? std::vector<ShardId>() : std::vector<ShardId>{0, 1};
    return ParameterStore::Create(options, TestLayout(kLength, 1 << 20), held).value();
  }

  struct Connection {
    std::shared_ptr<Sent> sent = std::make_shared<Sent>();
    std::shared_ptr<ExchangeReceiver> session;
    // The answers to `message`, which the map's primary sends.
    std::vector<ExchangeMessage> Say(ExchangeMessage message, int64_t term = kTerm) {
      message.term = term;
      sent->messages.clear();
      session->OnMessage(std::move(message));
      return sent->messages;
    }
  };
  Connection Connect(NodeId node = kPrimaryNode) { return ConnectTo(*service_, node); }
  static Connection ConnectTo(ParameterService& service, NodeId node) {
    Connection connection;
    connection.session = service.NewSession(connection.sent);
    ExchangeMessage hello;
    hello.kind = MessageKind::kHello;
    hello.protocol_version = kProtocolVersion;
    if (node != 0)
      hello.replication = std::make_shared<const ReplicationFields>(ReplicationFields{.node_id = node});
    connection.session->OnMessage(hello);
    return connection;
  }
  ExchangeMessage Round(Clock clock) {
    EXPECT_EQ(*Push(*primary_, {0, 0}, clock, Floats(kLength, 1), clock), Action::kApplyRound);
    return ToMessage(forwards_->added.back());
  }
  std::vector<ExchangeMessage> Copy() {
    std::vector<ExchangeMessage> pieces;
    EXPECT_TRUE(primary_->Copy(kWeights, [&pieces](ShardCopy copy) { pieces = ToMessages(copy); }).ok());
    return pieces;
  }

  const std::shared_ptr<Forwards> forwards_ = std::make_shared<Forwards>();
  const std::shared_ptr<ParameterStore> primary_ = Make();
  const std::shared_ptr<ParameterStore> backup_ = Make();
  const std::shared_ptr<ParameterService> service_ = ParameterService::Create();
};

void ExpectMark(const std::vector<ExchangeMessage>& answers, MessageKind kind, const ShardMark& mark) {
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].kind, kind);
  EXPECT_EQ(answers[0].term, kTerm);
  EXPECT_EQ(MarkOf(answers[0]), mark);
}

void ExpectRefused(const std::vector<ExchangeMessage>& answers, absl::StatusCode code) {
  ASSERT_EQ(answers.size(), 1u);
  EXPECT_EQ(answers[0].kind, MessageKind::kError);
  EXPECT_EQ(answers[0].error.code(), code) << answers[0].error;
}

TEST_F(ServiceOfABackup, ForwardIsAnsweredWithWhatThereIsThen) {
  Connection connection = Connect();
  const ExchangeMessage first = Round(0), second = Round(1), third = Round(2);
  ExpectMark(connection.Say(MarkQuestion(kWeights)), MessageKind::kForwarded, {0, 0});
  ExpectMark(connection.Say(first), MessageKind::kForwarded, {1, kTerm});
  ExpectMark(connection.Say(first), MessageKind::kForwarded, {1, kTerm});
  ExpectMark(connection.Say(third), MessageKind::kForwarded, {1, kTerm});
  ExpectMark(connection.Say(second), MessageKind::kForwarded, {2, kTerm});
  ExpectMark(connection.Say(third), MessageKind::kForwarded, {3, kTerm});
  EXPECT_EQ(connection.sent->granted, static_cast<int64_t>(5 * kLength * sizeof(float)));
}

TEST_F(ServiceOfABackup, ShardThatIsNotHeldIsToldByItsMark) {
  const std::shared_ptr<ParameterStore> empty = Make(/*empty=*/true);
  ASSERT_TRUE(empty->SetDuties(kTerm, {}).ok());
  service_->Adopt(empty, kTerm, {kPrimaryNode});
  Connection connection = Connect();
  ExpectMark(connection.Say(MarkQuestion(kWeights)), MessageKind::kForwarded, {-1, 0});
  ExpectMark(connection.Say(Round(0)), MessageKind::kForwarded, {-1, 0});
}

TEST_F(ServiceOfABackup, CopyIsInstalledWithItsLastPiece) {
  const std::shared_ptr<ParameterStore> empty = Make(/*empty=*/true);
  ASSERT_TRUE(empty->SetDuties(kTerm, {{kWeights, {.role = ShardRole::kBackup}}}).ok());
  service_->Adopt(empty, kTerm, {kPrimaryNode});
  Connection connection = Connect();
  Round(0);
  const std::vector<ExchangeMessage> pieces = Copy();
  ASSERT_EQ(pieces.size(), 4u) << "two slots, the version before, the weights";
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(connection.Say(pieces[i]).empty());
  ExpectMark(connection.Say(pieces[3]), MessageKind::kCopied, {1, kTerm});
  ASSERT_TRUE(empty->SetDuties(kTerm + 1, {{kWeights, {}}}).ok());
  EXPECT_TRUE(SameBits(Weights(*empty), Weights(*primary_)));
  EXPECT_EQ(ReadNow(*empty, kWeights, 0, 0)->version, 0);
}

TEST_F(ServiceOfABackup, CopyThatLacksAPieceIsRefused) {
  Round(0);
  std::vector<ExchangeMessage> pieces = Copy();
  for (size_t lost = 0; lost < 3; ++lost) {
    Connection connection = Connect();
    for (size_t i = 0; i < 3; ++i) {
      if (i == lost) continue;
      EXPECT_TRUE(connection.Say(pieces[i]).empty());
    }
    ExpectRefused(connection.Say(pieces[3]), absl::StatusCode::kDataLoss);
  }
  Connection connection = Connect();
  ExchangeMessage other = pieces[0];
  other.version = 5;  // of another copy
  EXPECT_TRUE(connection.Say(other).empty());
  for (size_t i = 1; i < 3; ++i) EXPECT_TRUE(connection.Say(pieces[i]).empty());
  ExpectRefused(connection.Say(pieces[3]), absl::StatusCode::kDataLoss);
  EXPECT_EQ(backup_->Mark(kWeights), (ShardMark{0, 0}));
}

TEST_F(ServiceOfABackup, PieceThatIsNoneIsRefused) {
  Connection connection = Connect();
  std::vector<ExchangeMessage> pieces = Copy();
  ExchangeMessage piece = pieces[0];
  piece.tensor = Bytes(Floats(kLength + 1, 0));
  ExpectRefused(connection.Say(piece), absl::StatusCode::kInvalidArgument);
  piece = pieces[0];
  piece.replication = std::make_shared<const ReplicationFields>(ReplicationFields{.tensor = "gradient"});
  ExpectRefused(connection.Say(piece), absl::StatusCode::kInvalidArgument);
  piece.replication = nullptr;
  ExpectRefused(connection.Say(piece), absl::StatusCode::kInvalidArgument);
  for (int i = 0; i < 20; ++i) {
    piece.replication =
        std::make_shared<const ReplicationFields>(ReplicationFields{.tensor = absl::StrCat("slots/", i)});
    const auto answers = connection.Say(piece);
    EXPECT_EQ(answers.empty(), i < static_cast<int>(CopyAssembler::kMaxSlots))
        << "no more than anybody needs is kept";
  }
}

TEST_F(ServiceOfABackup, OnlyThePrimaryOfTheMapIsHeard) {
  const ExchangeMessage round = Round(0);
  const ExchangeMessage piece = Copy().back();
  for (const NodeId node : {kPrimaryNode + 1, 0}) {
    Connection connection = Connect(node);
    ExpectRefused(connection.Say(round), absl::StatusCode::kPermissionDenied);
    ExpectRefused(connection.Say(piece), absl::StatusCode::kPermissionDenied);
    ExpectRefused(connection.Say(MarkQuestion(kWeights)), absl::StatusCode::kPermissionDenied);
  }
  Connection connection = Connect();
  ExpectRefused(connection.Say(MarkQuestion(17)), absl::StatusCode::kPermissionDenied);
  ExpectRefused(connection.Say(MarkQuestion(-1)), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(backup_->Mark(kWeights), (ShardMark{0, 0}));
}

TEST_F(ServiceOfABackup, ForwardsOfAnotherTermAreRefused) {
  Connection connection = Connect();
  const ExchangeMessage round = Round(0);
  ExpectRefused(connection.Say(round, kTerm - 1), absl::StatusCode::kAborted);
  ExpectRefused(connection.Say(round, kTerm + 1), absl::StatusCode::kUnavailable);
  EXPECT_EQ(backup_->Mark(kWeights), (ShardMark{0, 0}));
}

TEST_F(ServiceOfABackup, ForwardThatNobodyCanHaveMadeIsRefused) {
  using Fields = ReplicationFields;
  Connection connection = Connect();
  const ExchangeMessage round = Round(0);
  const std::vector<std::pair<std::string, std::function<void(Fields*)>>> changes = {
      {"no number", [](Fields* fields) { fields->learning_rate = std::numeric_limits<double>::quiet_NaN(); }},
      {"infinite", [](Fields* fields) { fields->learning_rate = std::numeric_limits<double>::infinity(); }},
      {"later term", [](Fields* fields) { fields->update_term = kTerm + 1; }},
      {"negative term", [](Fields* fields) { fields->update_term = -1; }},
      {"no such group", [](Fields* fields) { fields->group = 1; }},
      {"negative group", [](Fields* fields) { fields->group = -1; }},
      {"nobody", [](Fields* fields) { fields->covered = {}; }},
      {"twice",
       [](Fields* fields) {
         fields->covered = {{0, 0}, {0, 0}};
       }},
      {"out of order",
       [](Fields* fields) {
         fields->covered = {{0, -1}};
       }},
      {"before the first",
       [](Fields* fields) {
         fields->covered = {{-1, 0}};
       }},
      {"beyond the last",
       [](Fields* fields) {
         fields->covered = {{0, 1}};
       }},
      {"huge", [](Fields* fields) {
         fields->covered = {{std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()}};
       }}};
  for (const auto& [name, change] : changes) {
    SCOPED_TRACE(name);
    ExchangeMessage forward = round;
    Fields fields = *round.replication;
    change(&fields);
    forward.replication = std::make_shared<const Fields>(fields);
    ExpectRefused(connection.Say(forward), absl::StatusCode::kInvalidArgument);
  }
  for (const Clock clock : {int64_t{-1}, int64_t{1}, std::numeric_limits<int64_t>::max()}) {
    ExchangeMessage forward = round;
    forward.clock = clock;
    ExpectRefused(connection.Say(forward), absl::StatusCode::kInvalidArgument);
  }
  for (const int64_t length : {int64_t{0}, kLength - 1, 2 * kLength}) {
    ExchangeMessage forward = round;
    forward.tensor = Bytes(Floats(static_cast<size_t>(length), 1));
    ExpectRefused(connection.Say(forward), absl::StatusCode::kInvalidArgument);
  }
  for (const Version version : {Version{-1}, Version{2}, std::numeric_limits<Version>::max()}) {
    ExchangeMessage forward = round;
    forward.version = version;
    ExpectMark(connection.Say(forward), MessageKind::kForwarded, {0, 0});
  }
  ExchangeMessage bare = round;
  bare.replication = nullptr;
  ExpectRefused(connection.Say(bare), absl::StatusCode::kInvalidArgument);
  ExpectMark(connection.Say(round), MessageKind::kForwarded, {1, kTerm});
}

TEST_F(ServiceOfABackup, PiecesMayComeTwiceButNotBehindTheLast) {
  Round(0);
  const std::vector<ExchangeMessage> pieces = Copy();
  Connection connection = Connect();
  ExpectRefused(connection.Say(pieces[3]), absl::StatusCode::kDataLoss);
  EXPECT_EQ(backup_->Mark(kWeights), (ShardMark{0, 0}));
  for (const size_t piece : {2, 0, 0, 1, 2}) EXPECT_TRUE(connection.Say(pieces[piece]).empty());
  ExpectMark(connection.Say(pieces[3]), MessageKind::kCopied, {1, kTerm});
  ExpectRefused(connection.Say(pieces[3]), absl::StatusCode::kDataLoss);
  for (const ExchangeMessage& piece : {pieces[0], pieces[1], pieces[2]}) connection.Say(piece);
  ExpectMark(connection.Say(pieces[3]), MessageKind::kCopied, {1, kTerm});
}

TEST_F(ServiceOfABackup, CopyThatCountsOtherwiseThanItsPolicyIsRefused) {
  Round(0);
  const std::vector<ExchangeMessage> pieces = Copy();
  using Fields = ReplicationFields;
  const std::vector<std::function<void(Fields*)>> changes = {
      [](Fields* fields) { fields->applied_pushes = 2; },
      [](Fields* fields) { fields->group_clocks = {-1}; },
      [](Fields* fields) { fields->group_clocks = {2}; },
      [](Fields* fields) {
        fields->group_clocks = {1, 1};
      },
      [](Fields* fields) { fields->replica_clocks = {std::numeric_limits<int64_t>::max()}; },
      [](Fields* fields) { fields->applied = {}; },
      [](Fields* fields) { fields->dropped = -1; },
      [](Fields* fields) { fields->update_term = kTerm + 1; },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(i);
    Connection connection = Connect();
    std::vector<ExchangeMessage> changed = pieces;
    for (ExchangeMessage& piece : changed) {
      Fields fields = *piece.replication;
      changes[i](&fields);
      piece.replication = std::make_shared<const Fields>(fields);
    }
    for (size_t piece = 0; piece < 3; ++piece) EXPECT_TRUE(connection.Say(changed[piece]).empty());
    ExpectRefused(connection.Say(changed[3]), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_EQ(backup_->Mark(kWeights), (ShardMark{0, 0}));
}

TEST_F(ServiceOfABackup, CopyIsOfOneTerm) {
  Round(0);
  const std::vector<ExchangeMessage> pieces = Copy();
  Connection connection = Connect();
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(connection.Say(pieces[i]).empty());
  ASSERT_TRUE(backup_->SetDuties(kTerm + 1, {{kWeights, {.role = ShardRole::kBackup}}}).ok());
  service_->Adopt(backup_, kTerm + 1, {kPrimaryNode});
  ExpectRefused(connection.Say(pieces[3], kTerm), absl::StatusCode::kAborted);
  ExpectRefused(connection.Say(pieces[3], kTerm + 1), absl::StatusCode::kDataLoss);
}

TEST_F(ServiceOfABackup, CopyOfAShardThatIsNotToComeHereIsRefused) {
  std::vector<ExchangeMessage> pieces;
  ASSERT_TRUE(primary_->Copy(kStatistics, [&](ShardCopy copy) { pieces = ToMessages(copy); }).ok());
  Connection connection = Connect();
  for (size_t i = 0; i + 1 < pieces.size(); ++i) EXPECT_TRUE(connection.Say(pieces[i]).empty());
  ExpectRefused(connection.Say(pieces.back()), absl::StatusCode::kAborted);
  EXPECT_EQ(backup_->held(), std::vector<ShardId>{kWeights});
}

TEST_F(ServiceOfABackup, WorkersHelloWaitsUntilWhatItTellsHoldsWithAnyHeir) {
  ASSERT_TRUE(backup_->SetDuties(kTerm + 1, {{kWeights, {.backups = {8}}}}).ok());
  service_->Adopt(backup_, kTerm + 1, {kPrimaryNode});
  const Connection worker = ConnectTo(*service_, /*node=*/0);
  const Connection server = ConnectTo(*service_, 8);
  EXPECT_TRUE(worker.sent->messages.empty());
  EXPECT_EQ(server.sent->messages.size(), 1u) << "it is what the shard waits for";
  service_->OnOpen();
  EXPECT_TRUE(worker.sent->messages.empty());
  ASSERT_TRUE(backup_->OnHas(kWeights, 8, 0).ok());
  service_->OnOpen();
  ASSERT_EQ(worker.sent->messages.size(), 1u);
  EXPECT_EQ(worker.sent->messages[0].kind, MessageKind::kHello);
}

TEST(ServiceThatDropsStragglers, TellsOfADropOnceItsRoundIsReleased) {
  auto options = StoreOptions({.replicas = 2, .group = 2, .drop_stragglers = 1});
  options.forwards = std::make_shared<Forwards>();
  const std::shared_ptr<ParameterStore> store = MakeStore(options);
  ASSERT_TRUE(store->SetDuties(kTerm, {{kWeights, {.backups = {8}}}, {kStatistics, {}}}).ok());
  ASSERT_TRUE(store->OnHas(kWeights, 8, 0).ok());
  const auto service = ParameterService::Create();
  service->Adopt(store, kTerm);
  const auto sent = std::make_shared<Sent>();
  const auto session = service->NewSession(sent);
  ExchangeMessage hello;
  hello.kind = MessageKind::kHello;
  hello.protocol_version = kProtocolVersion;
  session->OnMessage(hello);
  for (const ReplicaId replica : {0, 1}) {
    sent->messages.clear();
    ExchangeMessage push;
    push.kind = MessageKind::kPush;
    push.replicas = {replica, replica};
    push.term = kTerm;
    push.wants_weights = true;
    push.tensor = Bytes(Floats(kLength, 1));
    session->OnMessage(push);
    EXPECT_TRUE(sent->messages.empty());
  }
  ASSERT_TRUE(store->OnHas(kWeights, 8, 1).ok());
  ASSERT_EQ(sent->messages.size(), 2u);
  EXPECT_EQ(sent->messages[0].kind, MessageKind::kWeights);
  EXPECT_EQ(sent->messages[1].kind, MessageKind::kDropped);
  EXPECT_EQ(sent->messages[1].version, 1);
  service->Close();
}

}  // namespace
}  // namespace tessera
