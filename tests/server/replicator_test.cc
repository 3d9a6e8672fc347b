// Whole servers in one process: stores, services and replicators over the in-process transport, whose
// messages are lost and whose connections are cut.
#include "server/replicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/fault/link_faults.h"
#include "common/in_process_exchange.h"
#include "common/mutex.h"
#include "server/parameter_service.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

using Action = ConsistencyPolicy::Action;
constexpr int64_t kRewind = 3;
constexpr absl::Duration kPatience = absl::Seconds(30);

// The answer to one read, which is waited for. Thread-safe.
class Answer {
 public:
  Answer(ParameterStore& store, ShardId shard, Clock clock, ReplicaId replica = 0) {
    store.Read(shard, replica, clock, [state = state_](absl::StatusOr<ShardVersion> read) {
      MutexLock lock(&state->mutex);
      state->answer = std::move(read);
      state->changed.NotifyAll();
    });
  }
  bool there() const {
    MutexLock lock(&state_->mutex);
    return state_->answer.has_value();
  }
  absl::StatusOr<ShardVersion> Wait() const {
    const absl::Time deadline = absl::Now() + kPatience;
    MutexLock lock(&state_->mutex);
    while (!state_->answer.has_value() && absl::Now() < deadline)
      state_->changed.WaitWithTimeout(&state_->mutex, deadline - absl::Now());
    return state_->answer.value_or(absl::DeadlineExceededError("no answer"));
  }

 private:
  struct State {
    Mutex mutex;
    CondVar changed;
    std::optional<absl::StatusOr<ShardVersion>> answer ABSL_GUARDED_BY(mutex);
  };
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

class Servers : public ::testing::Test {
 protected:
  // Server i is node 10 + i. `empty` ones begin without shards.
  void Start(int count, const std::set<int>& empty = {}, const FaultOptions& faults = {},
             ParameterStoreOptions options = StoreOptions({.replicas = 1, .group = 1}, "adam",
                                                          {{"lr", "0.1"}})) {
    faults_ = LinkFaults::Create(faults);
    for (int i = 0; i < count; ++i) {
      auto server = std::make_unique<Server>();
      server->service = ParameterService::Create();
      ReplicatorOptions replication{.node = absl::StrCat("server ", i), .node_id = 10 + i};
      replication.first_wait = absl::Milliseconds(20);
      replication.shortest_wait = absl::Milliseconds(2);
      replication.lease = absl::Milliseconds(300);
      replication.on_open = [raw = server->service.get()] { raw->OnOpen(); };
      replication.on_silence = [this](const std::string& line) {
        MutexLock lock(&mutex_);
        news_.push_back(line);
      };
      server->replicator = std::make_shared<Replicator>(std::move(replication));
      options.forwards = server->replicator;
      const std::vector<ShardId> held =
          empty.count(i) > 0 ? std::vector<ShardId>() : std::vector<ShardId>{0, 1};
      server->store = ParameterStore::Create(options, TestLayout(kLength, 1 << 20), held).value();
      servers_.push_back(std::move(server));
    }
    for (const auto& server : servers_) {
      server->replicator->Start([this](const BackupPeer& peer, std::shared_ptr<ExchangeReceiver> receiver) {
        return Open(static_cast<size_t>(peer.node_id - 10), std::move(receiver));
      });
    }
  }
  void TearDown() override {
    for (const auto& server : servers_) server->replicator->Close();
    for (const auto& server : servers_) server->service->Close();
  }

  // Both shards are led by `primary`. `told`: the servers that hear of the map, in this order; empty: all it
  // names.
  void Map(int64_t term, int primary, const std::vector<int>& backups, const std::vector<int>& joining = {},
           std::vector<int> told = {}) {
    if (told.empty()) {
      told = backups;
      told.insert(told.end(), joining.begin(), joining.end());
      told.push_back(primary);
    }
    for (const int index : told) {
      ShardDuty duty{.role = index == primary ? ShardRole::kPrimary : ShardRole::kBackup};
      std::vector<BackupPeer> peers;
      for (const int other : index == primary ? backups : std::vector<int>()) {
        duty.backups.push_back(10 + other);
        peers.push_back({.node_id = 10 + other, .name = absl::StrCat("server ", other), .backups = {0, 1}});
      }
      for (const int other : index == primary ? joining : std::vector<int>()) {
        duty.joining.push_back(10 + other);
        peers.push_back({.node_id = 10 + other, .name = absl::StrCat("server ", other), .joining = {0, 1}});
      }
      Server& server = *servers_[index];
      ASSERT_TRUE(server.store->SetDuties(term, {{0, duty}, {1, duty}}).ok());
      server.service->Adopt(server.store, term, {10 + primary, 10 + primary});
      server.replicator->SetMap(server.store, term, kRewind, std::move(peers));
      server.service->OnOpen();
    }
  }

  ParameterStore& store(int index) { return *servers_[index]->store; }
  Replicator& replicator(int index) { return *servers_[index]->replicator; }

  // Nothing reaches server `index` any more, or again.
  void Cut(size_t index, bool cut) {
    MutexLock lock(&mutex_);
    cut ? (void)cut_.insert(index) : (void)cut_.erase(index);
    for (const auto& sender : senders_[index]) sender->Close(absl::UnavailableError("cut"));
    senders_[index].clear();
  }

  // Every message from now on to server `index` goes through `filter`; those of which it says false are lost.
  // Called by any thread, without locks held.
  using Filter = std::function<bool(const ExchangeMessage&)>;
  void SetFilter(size_t index, Filter filter) {
    MutexLock lock(&mutex_);
    filters_[index] = std::make_shared<const Filter>(std::move(filter));
  }
  // For filters, which outlive the test's own variables.
  std::atomic<bool> open_ = true;
  std::atomic<int> count_ = 0;

  // What was said of servers that say nothing.
  std::vector<std::string> news() {
    MutexLock lock(&mutex_);
    return news_;
  }
  int connections(size_t index) {
    MutexLock lock(&mutex_);
    return connections_[index];
  }
  static void WaitUntil(const std::function<bool()>& holds, const char* what) {
    const absl::Time deadline = absl::Now() + kPatience;
    while (!holds()) {
      ASSERT_LT(absl::Now(), deadline) << what;
      std::this_thread::yield();
    }
  }

  // A round of both shards; each ends when its version may be read.
  void Round(int primary, Clock clock) {
    for (const ShardId shard : {kWeights, kStatistics}) {
      PushRound(primary, shard, clock);
      const auto read = Answer(store(primary), shard, clock + 1).Wait();
      ASSERT_TRUE(read.ok()) << read.status();
      ASSERT_EQ(read->version, clock + 1);
    }
  }
  void PushRound(int primary, ShardId shard, Clock clock, float more = 0) {
    const size_t length = shard == kWeights ? kLength : 8;
    const Floats gradient(length, 1 + more + 0.25F * static_cast<float>(clock));
    const auto action = store(primary).Push({shard, {0, 0}, clock, clock}, Bytes(gradient));
    ASSERT_TRUE(action.ok()) << action.status();
  }

  // All bits that two servers have of both shards. They are primaries afterwards.
  void ExpectSameBits(int a, int b) {
    constexpr int64_t kLast = 1000;
    for (const int index : {a, b}) Map(kLast, index, {}, {}, {index});
    for (const ShardId shard : {kWeights, kStatistics}) {
      std::vector<ShardCopy> copies;
      for (const int index : {a, b}) {
        ASSERT_TRUE(
            store(index).Copy(shard, [&](ShardCopy copy) { copies.push_back(std::move(copy)); }).ok());
      }
      const ShardSnapshot &one = copies[0].snapshot, &two = copies[1].snapshot;
      EXPECT_EQ(one.version, two.version);
      EXPECT_EQ(one.policy, two.policy);
      EXPECT_TRUE(SameBits(Values(*one.weights), Values(*two.weights)));
      ASSERT_EQ(one.slots.size(), two.slots.size());
      for (size_t i = 0; i < one.slots.size(); ++i)
        EXPECT_TRUE(SameBits(Values(*one.slots[i].values), Values(*two.slots[i].values)));
      ASSERT_NE(copies[0].previous, nullptr);
      ASSERT_NE(copies[1].previous, nullptr);
      EXPECT_TRUE(SameBits(Values(*copies[0].previous), Values(*copies[1].previous)));
    }
  }

  // Trains from `clock` on until `primary` has told that both shards are copied to `node`.
  void TrainUntilCopied(int primary, Clock* clock, int node) {
    const absl::Time deadline = absl::Now() + kPatience;
    const std::vector<std::pair<ShardId, NodeId>> all = {{0, 10 + node}, {1, 10 + node}};
    while (replicator(primary).copied() != all && !HasFatalFailure()) {
      ASSERT_LT(absl::Now(), deadline) << "it is not copied";
      Round(primary, (*clock)++);
    }
  }

 private:
  struct Server {
    std::shared_ptr<ParameterService> service;
    std::shared_ptr<Replicator> replicator;
    std::shared_ptr<ParameterStore> store;
  };

  // Asks the filter of a server at each message to it.
  class Filtered : public ExchangeSender {
   public:
    Filtered(Servers* servers, size_t to, std::shared_ptr<ExchangeSender> sender)
        : servers_(servers), to_(to), sender_(std::move(sender)) {}
    void Send(ExchangeMessage message, int priority) override {
      if (servers_->Passes(to_, message)) sender_->Send(std::move(message), priority);
    }
    void Flush() override { sender_->Flush(); }
    void Grant(int64_t bytes) override { sender_->Grant(bytes); }
    void Close(absl::Status reason) override { sender_->Close(std::move(reason)); }

   private:
    Servers* const servers_;
    const size_t to_;
    const std::shared_ptr<ExchangeSender> sender_;
  };

  bool Passes(size_t to, const ExchangeMessage& message) {
    std::shared_ptr<const Filter> filter;
    {
      MutexLock lock(&mutex_);
      const auto found = filters_.find(to);
      if (found != filters_.end()) filter = found->second;
    }
    return filter == nullptr || (*filter)(message);
  }

  std::shared_ptr<ExchangeSender> Open(size_t to, std::shared_ptr<ExchangeReceiver> receiver) {
    const InProcessNetwork::Connection connection = network_.Connect();
    network_.Start(connection, std::move(receiver),
                   servers_[to]->service->NewSession(WithFaults(faults_.get(), connection.server)));
    MutexLock lock(&mutex_);
    senders_[to].push_back(connection.client);
    ++connections_[to];
    if (cut_.count(to) > 0) connection.client->Close(absl::UnavailableError("cut"));
    return std::make_shared<Filtered>(this, to, WithFaults(faults_.get(), connection.client));
  }

  std::shared_ptr<LinkFaults> faults_;
  Mutex mutex_;
  std::set<size_t> cut_ ABSL_GUARDED_BY(mutex_);
  std::map<size_t, std::shared_ptr<const Filter>> filters_ ABSL_GUARDED_BY(mutex_);
  std::map<size_t, int> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> news_ ABSL_GUARDED_BY(mutex_);
  std::map<size_t, std::vector<std::shared_ptr<ExchangeSender>>> senders_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::unique_ptr<Server>> servers_;
  InProcessNetwork network_{/*shuffle_seed=*/5};  // goes first
};

TEST_F(Servers, BackupsHaveEachVersionBeforeItIsRead) {
  Start(3);
  Map(1, 0, {1, 2});
  for (Clock clock = 0; clock < 20 && !HasFatalFailure(); ++clock) {
    Round(0, clock);
    EXPECT_EQ(store(1).Mark(kWeights), (ShardMark{clock + 1, 1}));
    EXPECT_EQ(store(2).Mark(kWeights), (ShardMark{clock + 1, 1}));
  }
  EXPECT_GT(replicator(0).forwarded_bytes(), 0);
  ExpectSameBits(0, 2);
}

TEST_F(Servers, LostMessagesAndCutConnectionsLoseNothing) {
  Start(2, {}, {.loss = 0.2, .cut = 0.02, .seed = 7});
  Map(1, 0, {1});
  for (Clock clock = 0; clock < 60 && !HasFatalFailure(); ++clock) Round(0, clock);
  ExpectSameBits(0, 1);
}

TEST_F(Servers, BackupThatIsAwayIsWaitedForAndThenGetsWhatItMissed) {
  Start(2);
  Map(1, 0, {1});
  Round(0, 0);
  Cut(1, true);
  PushRound(0, kWeights, 1);
  PushRound(0, kStatistics, 1);
  const Answer weights(store(0), kWeights, 2);
  EXPECT_FALSE(weights.there());
  Cut(1, false);
  EXPECT_EQ(weights.Wait()->version, 2);
  EXPECT_EQ(Answer(store(0), kStatistics, 2).Wait()->version, 2);
  ExpectSameBits(0, 1);
}

TEST_F(Servers, ServerThatJoinsIsCopiedWhileTrainingGoesOn) {
  Start(3, /*empty=*/{2});
  Map(1, 0, {1});
  Round(0, 0);
  Map(2, 0, {1}, {2});
  Clock clock = 1;
  TrainUntilCopied(0, &clock, 2);
  Map(3, 0, {2}, {}, {0, 2});  // the other one is gone
  for (int more = 0; more < 5 && !HasFatalFailure(); ++more) Round(0, clock++);
  EXPECT_TRUE(replicator(0).copied().empty());
  Map(4, 2, {}, {}, {2});
  for (int more = 0; more < 3 && !HasFatalFailure(); ++more) Round(2, clock++);
  EXPECT_EQ(store(2).VersionRange(), (std::pair<Version, Version>{clock, clock}));
}

TEST_F(Servers, CopyComesThroughLossAndTheMapsChanges) {
  Start(2, /*empty=*/{1}, {.loss = 0.2, .cut = 0.02, .seed = 11});
  Map(1, 0, {}, {1});
  Clock clock = 0;
  for (int term = 2; term < 6 && !HasFatalFailure(); ++term) {
    Round(0, clock++);
    Map(term, 0, {}, {1});
  }
  TrainUntilCopied(0, &clock, 1);
  Map(6, 0, {1});
  Round(0, clock++);
  ExpectSameBits(0, 1);
}

TEST_F(Servers, HeirGoesOnWithABackupThatWasBehindOrAhead) {
  Start(3);
  Map(1, 0, {1, 2});
  Round(0, 0);
  Cut(1, true);
  PushRound(0, kWeights, 1, /*more=*/8);  // reaches server 2 alone
  const absl::Time deadline = absl::Now() + kPatience;
  while (store(2).Mark(kWeights).version < 2) {
    ASSERT_LT(absl::Now(), deadline);
    std::this_thread::yield();
  }
  replicator(0).Close();  // it dies
  Cut(1, false);
  Map(2, 1, {2});
  Round(1, 1);
  Round(1, 2);
  EXPECT_EQ(store(2).Mark(kWeights), (ShardMark{3, 2}));
  ExpectSameBits(1, 2);
}

// The heir makes that version too, of other gradients, before it hears of the one that its backup has.
TEST_F(Servers, BackupWithTheSameVersionOfAnotherTermIsCopied) {
  Start(3);
  Map(1, 0, {1, 2});
  Round(0, 0);
  Cut(1, true);
  PushRound(0, kWeights, 1, /*more=*/8);  // reaches server 2 alone
  WaitUntil([&] { return store(2).Mark(kWeights).version == 2; }, "the update has not come");
  replicator(0).Close();  // it dies
  Cut(1, false);
  open_ = false;
  SetFilter(2, [this](const ExchangeMessage& message) {
    ++count_;
    return open_ || message.kind == MessageKind::kHello;
  });
  Map(2, 1, {2});
  WaitUntil([&] { return count_ >= 4; }, "the heir asks");
  PushRound(1, kWeights, 1);
  open_ = true;
  EXPECT_EQ(Answer(store(1), kWeights, 2).Wait()->version, 2);
  EXPECT_EQ(store(2).Mark(kWeights), (ShardMark{2, 2}));
  PushRound(1, kStatistics, 1);
  EXPECT_EQ(Answer(store(1), kStatistics, 2).Wait()->version, 2);
  ExpectSameBits(1, 2);
}

TEST_F(Servers, NewBackupThatHasTheVersionOfADeadPrimaryIsCopied) {
  Start(3);
  Map(1, 0, {1, 2});
  Round(0, 0);
  Cut(1, true);
  PushRound(0, kWeights, 1, /*more=*/8);  // reaches server 2 alone
  WaitUntil([&] { return store(2).Mark(kWeights).version == 2; }, "the update has not come");
  replicator(0).Close();  // it dies
  Cut(1, false);
  Map(2, 1, {});
  Round(1, 1);
  Map(3, 1, {2});
  Round(1, 2);
  ExpectSameBits(1, 2);
}

TEST_F(Servers, PrimaryThatHasNotHeardOfItsHeirReleasesNothingMore) {
  Start(3);
  Map(1, 0, {1, 2});
  Round(0, 0);
  Map(2, 1, {2});  // server 0 is not told
  PushRound(0, kWeights, 1, /*more=*/8);
  const Answer stale(store(0), kWeights, 2);
  for (Clock clock = 1; clock < 30 && !HasFatalFailure(); ++clock) Round(1, clock);
  EXPECT_FALSE(stale.there());
  ExpectSameBits(1, 2);
}

TEST_F(Servers, PrimaryOfManyRoundsThatStaysNeedsNoCopies) {
  Start(2);
  Map(1, 0, {1});
  for (Clock clock = 0; clock < 3 && !HasFatalFailure(); ++clock) Round(0, clock);
  Map(2, 0, {1});
  for (Clock clock = 3; clock < 6 && !HasFatalFailure(); ++clock) Round(0, clock);
  // Six rounds of both shards, or an update more than once; a copy is four rounds of the weights.
  EXPECT_LT(replicator(0).forwarded_bytes(), 9 * static_cast<int64_t>((kLength + 8) * sizeof(float)));
}

// Its connection is there, and so are its heartbeats, but nothing comes back.
TEST_F(Servers, BackupThatSaysNothingIsConnectedAgainAndToldOf) {
  Start(2);
  Map(1, 0, {1});
  Round(0, 0);
  const int before = connections(1);
  open_ = false;
  SetFilter(1,
            [this](const ExchangeMessage& message) { return open_ || message.kind == MessageKind::kHello; });
  PushRound(0, kWeights, 1);
  PushRound(0, kStatistics, 1);
  const Answer weights(store(0), kWeights, 2);
  WaitUntil([&] { return connections(1) >= before + 2; }, "it is given up once, and again");
  EXPECT_FALSE(weights.there());
  EXPECT_THAT(news(), ::testing::Contains(::testing::HasSubstr("server 1 holds or is to get 2 shards")));
  EXPECT_THAT(replicator(0).silent(), ::testing::ElementsAre(11));
  open_ = true;
  EXPECT_EQ(weights.Wait()->version, 2);
  EXPECT_EQ(Answer(store(0), kStatistics, 2).Wait()->version, 2);
  WaitUntil([&] { return news().back() == "server 1 answers again"; }, "that is told as well");
  EXPECT_THAT(replicator(0).silent(), ::testing::IsEmpty());
  Round(0, 2);
  ExpectSameBits(0, 1);
}

TEST_F(Servers, ServerThatIsConnectedToButSaysNoHelloIsToldOf) {
  Start(2);
  open_ = false;
  SetFilter(1, [this](const ExchangeMessage&) { return open_.load(); });
  Map(1, 0, {1});
  WaitUntil([&] { return !news().empty(); }, "nobody speaks of it");
  open_ = true;
  Round(0, 0);
}

TEST_F(Servers, ConnectionThatBreaksInTheMiddleOfACopyIsOpenedAgain) {
  Start(2, /*empty=*/{1});
  SetFilter(1, [this](const ExchangeMessage& message) {
    const bool breaks = message.kind == MessageKind::kCopy && ++count_ % 3 == 0 && count_ < 12;
    if (breaks) Cut(1, false);
    return !breaks;
  });
  Map(1, 0, {}, {1});
  Clock clock = 0;
  TrainUntilCopied(0, &clock, 1);
  EXPECT_GT(connections(1), 2);
  Map(2, 0, {1});
  Round(0, clock++);
  ExpectSameBits(0, 1);
}

// Who is to get a copy, and does not answer, holds nobody up and is not kept updates for without end.
TEST_F(Servers, JoiningServerThatLagsIsCopiedAnewAndHoldsNobodyUp) {
  constexpr auto kMaxKept = static_cast<Clock>(Replicator::kMaxKept);
  Start(2, /*empty=*/{1});
  struct Seen {
    Mutex mutex;
    Clock reached = 0;                           // while it lagged
    std::set<std::pair<ShardId, Version>> kept;  // of those updates, that are sent afterwards
  };
  const auto seen = std::make_shared<Seen>();
  open_ = false;
  SetFilter(1, [this, seen](const ExchangeMessage& message) {
    MutexLock lock(&seen->mutex);
    if (message.kind == MessageKind::kForward && !message.probe && open_ && message.version <= seen->reached)
      seen->kept.emplace(message.shard, message.version);
    return open_ || message.kind == MessageKind::kHello || message.probe;
  });
  Map(1, 0, {}, {1});
  Clock clock = 0;
  while (clock < 3 * kMaxKept && !HasFatalFailure()) Round(0, clock++);
  EXPECT_TRUE(replicator(0).copied().empty());
  {
    MutexLock lock(&seen->mutex);
    seen->reached = clock;
  }
  open_ = true;
  TrainUntilCopied(0, &clock, 1);
  {
    MutexLock lock(&seen->mutex);
    EXPECT_LE(seen->kept.size(), 2 * Replicator::kMaxKept) << "of two shards";
  }
  Map(2, 0, {1});
  Round(0, clock++);
  ExpectSameBits(0, 1);
}

// The map in between made another server the primary, and that one took back what this one's backup had.
TEST_F(Servers, PrimaryThatMissedAMapAsksItsBackupsAnew) {
  Start(3);
  Map(1, 0, {1, 2});
  Round(0, 0);
  Cut(2, true);
  PushRound(0, kWeights, 1);  // reaches server 1 alone
  WaitUntil([&] { return store(1).Mark(kWeights).version == 2; }, "the update has not come");
  const Answer weights(store(0), kWeights, 2);
  Cut(2, false);
  Map(2, 2, {1}, {}, {1, 2});
  WaitUntil([&] { return store(1).Mark(kWeights).version == 1; }, "it was ahead of its new primary");
  replicator(2).Close();  // it dies
  Map(3, 0, {1});
  ASSERT_EQ(weights.Wait()->version, 2);
  EXPECT_EQ(store(1).Mark(kWeights), (ShardMark{2, 1})) << "what was released";
  PushRound(0, kStatistics, 1);
  ASSERT_EQ(Answer(store(0), kStatistics, 2).Wait()->version, 2);
  Round(0, 2);
  ExpectSameBits(0, 1);
}

TEST_F(Servers, UpdatesThatComeBeforeTheBackupKnowsTheMapComeAgain) {
  Start(2);
  Map(1, 0, {1});
  Round(0, 0);
  SetFilter(1, [this](const ExchangeMessage& message) {
    count_ += message.term == 2 && message.kind == MessageKind::kForward && !message.probe ? 1 : 0;
    return true;
  });
  Map(2, 0, {1}, {}, {0});
  PushRound(0, kWeights, 1);
  const Answer weights(store(0), kWeights, 2);
  WaitUntil([&] { return count_ > 0; }, "it is not sent");
  EXPECT_FALSE(weights.there());
  EXPECT_EQ(store(1).Mark(kWeights), (ShardMark{1, 1}));
  Map(2, 0, {1}, {}, {1});
  EXPECT_EQ(weights.Wait()->version, 2);
  EXPECT_EQ(store(1).Mark(kWeights), (ShardMark{2, 2}));
}

TEST_F(Servers, TwoPrimariesDieOneAfterTheOther) {
  Start(3);
  Map(1, 0, {1, 2});
  for (Clock clock = 0; clock < 3 && !HasFatalFailure(); ++clock) Round(0, clock);
  replicator(0).Close();
  Map(2, 1, {2});
  PushRound(1, kWeights, 3);  // what became of it nobody knows
  replicator(1).Close();
  Map(3, 2, {});
  PushRound(2, kWeights, 3);
  PushRound(2, kStatistics, 3);
  for (Clock clock = 4; clock < 7 && !HasFatalFailure(); ++clock) Round(2, clock);
  for (const auto& [least, most] : store(2).AppliedRange()) EXPECT_EQ(least, 7);
}

TEST_F(Servers, HeirBringsWhoWasBeingCopiedToTheEnd) {
  Start(3, /*empty=*/{2});
  open_ = false;
  SetFilter(2, [this](const ExchangeMessage& message) {
    const bool last = message.kind == MessageKind::kCopy && message.replication->tensor == "weights";
    return open_ || !last;
  });
  Map(1, 0, {1}, {2});
  for (Clock clock = 0; clock < 5 && !HasFatalFailure(); ++clock) Round(0, clock);
  replicator(0).Close();  // it dies
  EXPECT_EQ(store(2).Mark(kWeights).version, -1);
  open_ = true;
  Map(2, 1, {}, {2});
  Clock clock = 5;
  TrainUntilCopied(1, &clock, 2);
  Map(3, 1, {2});
  Round(1, clock++);
  ExpectSameBits(1, 2);
}

TEST_F(Servers, SeveralGroupsGoOnUnderLoss) {
  ParameterStoreOptions options = StoreOptions(
      {.replicas = 4, .group = 1, .staleness = ConsistencyOptions::kUnbounded}, "momentum", {{"lr", "0.01"}});
  Start(2, {}, {.loss = 0.1, .seed = 3}, options);
  Map(1, 0, {1});
  std::vector<std::thread> replicas;
  for (ReplicaId replica = 0; replica < 4; ++replica) {
    replicas.emplace_back([this, replica] {
      for (Clock clock = 0; clock < 25; ++clock) {
        ASSERT_TRUE(store(0).Push({kWeights, {replica, replica}, clock, 0}, Bytes(Floats(kLength, 1))).ok());
        ASSERT_TRUE(Answer(store(0), kWeights, clock + 1, replica).Wait().ok());
      }
    });
  }
  for (std::thread& thread : replicas) thread.join();
  Map(2, 1, {}, {}, {1});
  for (const auto& [least, most] : store(1).AppliedRange()) EXPECT_EQ(most, 25);
  EXPECT_EQ(store(1).Latest(kWeights)->version, 100);
}

}  // namespace
}  // namespace tessera
