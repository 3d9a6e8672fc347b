// One shard on several servers, whose messages are lost, repeated and late, and whose primaries die at any
// moment: with the workers that push again an heir ends where an undisturbed shard ends, each minibatch
// counts once, and nothing was ever told that the next heir did not have.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using Action = ConsistencyPolicy::Action;
constexpr Clock kUnbounded = ConsistencyOptions::kUnbounded;
constexpr Clock kEnd = 6;  // of every replica

// Keeps what primaries tell, until it is taken.
class Forwards : public ForwardSink {
 public:
  void Add(ShardForward forward) override { added.push_back(std::move(forward)); }
  void Flush(ShardId) override { ++flushed; }

  std::vector<ShardForward> added;
  int flushed = 0;
};

// A store, and what it needs of others.
struct Server {
  std::shared_ptr<Forwards> forwards = std::make_shared<Forwards>();
  std::vector<ShardSnapshot> saved;
  std::unique_ptr<ParameterStore> store;
};

std::unique_ptr<Server> MakeServer(ParameterStoreOptions options, const std::vector<ShardId>& held) {
  auto server = std::make_unique<Server>();
  options.forwards = server->forwards;
  options.on_snapshot = [raw = server.get()](ShardSnapshot snapshot) {
    raw->saved.push_back(std::move(snapshot));
  };
  auto store = ParameterStore::Create(std::move(options), TestLayout(kLength, 1 << 20), held);
  EXPECT_TRUE(store.ok()) << store.status();
  server->store = *std::move(store);
  return server;
}

ShardCopy CopyOfShard(const ParameterStore& store, ShardId shard = kWeights) {
  std::optional<ShardCopy> copy;
  EXPECT_TRUE(store.Copy(shard, [&copy](ShardCopy taken) { copy = std::move(taken); }).ok());
  return copy.value_or(ShardCopy());
}

void ExpectSame(const ShardSnapshot& a, const ShardSnapshot& b) {
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.applied_pushes, b.applied_pushes);
  EXPECT_EQ(a.policy, b.policy);
  EXPECT_TRUE(SameBits(Values(*a.weights), Values(*b.weights)));
  ASSERT_EQ(a.slots.size(), b.slots.size());
  for (size_t i = 0; i < a.slots.size(); ++i)
    EXPECT_TRUE(SameBits(Values(*a.slots[i].values), Values(*b.slots[i].values))) << a.slots[i].name;
}

// The servers of one shard: the first that lives is its primary, all behind it are its backups. What a
// replicator does is done here event by event.
class Servers {
 public:
  Servers(const ParameterStoreOptions& options, int count) {
    for (int i = 0; i < count; ++i) servers_.push_back(MakeServer(options, {kWeights}));
    Map();
  }

  ParameterStore& primary() const { return *servers_[first_]->store; }
  bool HasHeir() const { return first_ + 1 < servers_.size(); }
  // What everybody who may become the primary has.
  Version SafeVersion() const {
    Version least = primary().Mark(kWeights).version;
    for (size_t i = first_ + 1; i < servers_.size(); ++i) {
      if (links_[i].followed) least = std::min(least, servers_[i]->store->Mark(kWeights).version);
    }
    return least;
  }

  // Something of the replication happens, or not.
  void Step(std::mt19937& random) {
    if (!HasHeir()) return;
    TakeForwards();
    const size_t backup = first_ + 1 + random() % (servers_.size() - first_ - 1);
    Link& link = links_[backup];
    ParameterStore& store = *servers_[backup]->store;
    if (!link.followed) return Ask(backup);
    if (random() % 2 == 0) {
      EXPECT_TRUE(primary().OnHas(kWeights, Node(backup), store.Mark(kWeights).version).ok());
    } else if (!link.queue.empty()) {
      const size_t index = random() % std::min<size_t>(2, link.queue.size());
      const absl::Status status = store.Forward(term_, link.queue[index]);
      EXPECT_EQ(status.ok() ? absl::StatusCode::kOk : absl::StatusCode::kFailedPrecondition, status.code())
          << status;
      if (index == 0 && random() % 4 != 0) link.queue.pop_front();  // else it is sent again
    }
    CheckSaved();
  }

  // The primary dies; the next one takes over.
  void KillPrimary(bool after_delivery) {
    TakeForwards();
    if (after_delivery) Deliver(first_ + 1);
    const ShardMark before = primary().Mark(kWeights);
    const ShardCopy last = CopyOfShard(primary());
    dead_.push_back(std::move(servers_[first_]));
    ++first_;
    Map();
    if (primary().Mark(kWeights) == before) ExpectSame(CopyOfShard(primary()).snapshot, last.snapshot);
  }

  void CheckSaved() const {
    for (size_t i = first_; i < servers_.size(); ++i) {
      for (const ShardSnapshot& snapshot : servers_[i]->saved) EXPECT_LE(snapshot.version, SafeVersion());
    }
  }

 private:
  struct Link {
    bool followed = false;  // else it is asked first
    std::deque<ShardForward> queue;
  };

  static NodeId Node(size_t server) { return 10 + static_cast<NodeId>(server); }

  void Map() {
    ++term_;
    links_ = std::vector<Link>(servers_.size());
    ShardDuty duty;
    for (size_t i = first_ + 1; i < servers_.size(); ++i) {
      duty.backups.push_back(Node(i));
      EXPECT_TRUE(servers_[i]->store->SetDuties(term_, {{kWeights, {.role = ShardRole::kBackup}}}).ok());
    }
    EXPECT_TRUE(primary().SetDuties(term_, {{kWeights, duty}}).ok());
  }

  void TakeForwards() {
    for (ShardForward& forward : std::exchange(servers_[first_]->forwards->added, {})) {
      for (size_t i = first_ + 1; i < servers_.size(); ++i) {
        if (links_[i].followed) links_[i].queue.push_back(forward);
      }
    }
  }

  // A backup that stands where the primary does follows; any other is copied.
  void Ask(size_t backup) {
    Link& link = links_[backup];
    ParameterStore& store = *servers_[backup]->store;
    if (store.Mark(kWeights) != primary().Mark(kWeights)) {
      EXPECT_TRUE(store.Install(term_, CopyOfShard(primary())).ok());
    }
    link.followed = true;
    ExpectSameMark(store);
    EXPECT_TRUE(primary().OnHas(kWeights, Node(backup), store.Mark(kWeights).version).ok());
  }
  void ExpectSameMark(const ParameterStore& store) {
    EXPECT_EQ(store.Mark(kWeights), primary().Mark(kWeights));
  }

  void Deliver(size_t backup) {
    if (!links_[backup].followed) return;
    for (const ShardForward& forward : links_[backup].queue)
      EXPECT_TRUE(servers_[backup]->store->Forward(term_, forward).ok());
  }

  std::vector<std::unique_ptr<Server>> servers_;
  std::vector<std::unique_ptr<Server>> dead_;
  std::vector<Link> links_;
  size_t first_ = 0;
  int64_t term_ = 0;
};

// Replicas that read, compute (of the weights that they got) and push, as workers do: what has no answer is
// done again with the next primary.
class Replicas {
 public:
  explicit Replicas(const ParameterStoreOptions& options, Servers& servers)
      : servers_(&servers), all_(std::make_shared<std::vector<Replica>>(options.consistency.replicas)) {}

  bool Done() const {
    return std::all_of(all_->begin(), all_->end(), [](const Replica& one) { return Ended(one); });
  }

  void Step(std::mt19937& random) {
    const auto index = static_cast<ReplicaId>(random() % all_->size());
    Replica& one = (*all_)[index];
    if (one.waits) return;
    if (one.weights.weights == nullptr) return Read(index, one.clock);
    if (!Ended(one)) Push(index);
  }

  // Whatever waits for the one of before waits for the new primary.
  void GoOn() {
    all_ = std::make_shared<std::vector<Replica>>(*all_);  // answers of before find nobody
    for (size_t i = 0; i < all_->size(); ++i) {
      const Replica& one = (*all_)[i];
      if (!one.waits) continue;
      one.pushed ? Push(static_cast<ReplicaId>(i)) : Read(static_cast<ReplicaId>(i), one.clock);
    }
  }

 private:
  struct Replica {
    Clock clock = 0;
    ShardVersion weights;  // for it
    bool waits = false;    // for an answer,
    bool pushed = false;   // to a push
  };

  static bool Ended(const Replica& one) { return one.clock >= kEnd && one.weights.weights != nullptr; }

  void Push(ReplicaId index) {
    Replica& one = (*all_)[index];
    std::mt19937 random(static_cast<uint32_t>(1000 * one.clock + index));
    Floats gradient = RandomFloats(random, kLength);
    const Floats weights = Values(*one.weights.weights);
    for (size_t i = 0; i < gradient.size(); ++i) gradient[i] = 0.125F * gradient[i] + weights[i];
    one.pushed = true;
    const auto action =
        servers_->primary().Push({kWeights, {index, index}, one.clock, one.weights.version}, Bytes(gradient));
    ASSERT_TRUE(action.ok()) << action.status();
    Read(index, one.clock + 1, *action == Action::kDropped);
  }

  void Read(ReplicaId index, Clock clock, bool dropped = false) {
    (*all_)[index].waits = true;
    servers_->primary().Read(
        kWeights, index, clock,
        [this, index, clock, dropped, weak = std::weak_ptr(all_)](const absl::StatusOr<ShardVersion>& read) {
          const auto all = weak.lock();
          if (all == nullptr || all != all_) return;
          ASSERT_TRUE(read.ok()) << read.status();
          EXPECT_LE(read->version, servers_->SafeVersion()) << "an heir would not have it";
          (*all)[index] = {.clock = dropped ? read->version : clock, .weights = *read};
        });
  }

  Servers* servers_;
  std::shared_ptr<std::vector<Replica>> all_;
};

struct Mode {
  std::string name;
  ConsistencyOptions consistency;
  StalenessCorrection correction;
};

std::vector<Mode> Modes() {
  constexpr StalenessCorrection kCompensated{.kind = StalenessCorrection::Kind::kDelayCompensated};
  constexpr StalenessCorrection kScaled{.kind = StalenessCorrection::Kind::kScale};
  return {{"sync", {.replicas = 5, .group = 5}, {}},
          {"dropping", {.replicas = 5, .group = 5, .drop_stragglers = 2, .units = {{0, 1}, {2, 3}}}, {}},
          {"grouped", {.replicas = 6, .group = 3, .staleness = kUnbounded}, kScaled},
          {"grouped_bounded", {.replicas = 6, .group = 2, .staleness = 1}, {}},
          {"async", {.replicas = 4, .group = 1, .staleness = kUnbounded}, kScaled},
          {"async_compensated", {.replicas = 4, .group = 1, .staleness = kUnbounded}, kCompensated},
          {"ssp", {.replicas = 4, .group = 1, .staleness = 2}, {}}};
}

class ReplicatedShard : public ::testing::TestWithParam<std::tuple<std::string, Mode>> {
 protected:
  static ParameterStoreOptions OptionsOf() {
    const auto& [rule, mode] = GetParam();
    ParameterStoreOptions options =
        StoreOptions(mode.consistency, rule, {{"lr", "0.01"}, {"weight_decay", "0.001"}});
    options.correction = mode.correction;
    options.schedule = CreateSchedule("cosine", {}, {.total_steps = 20, .steps_per_epoch = 10}).value();
    options.checkpoint_every = 1;
    return options;
  }

  // The weights in the end, where the primaries die before the `kills`th event.
  static Floats Train(int servers, std::deque<int> kills, uint32_t seed) {
    const ParameterStoreOptions options = OptionsOf();
    Servers cluster(options, servers);
    Replicas replicas(options, cluster);
    std::mt19937 random(seed);
    for (int event = 0; !replicas.Done() && !HasFailure(); ++event) {
      if (event == 100'000) {
        ADD_FAILURE() << "no replica gets on";
        break;
      }
      if (!kills.empty() && event == kills.front()) {
        kills.pop_front();
        cluster.KillPrimary(/*after_delivery=*/random() % 2 == 0);
        replicas.GoOn();
      }
      random() % 2 == 0 ? replicas.Step(random) : cluster.Step(random);
    }
    if (options.consistency.drop_stragglers == 0) {
      for (const auto& counted : cluster.primary().AppliedRange())
        EXPECT_EQ(counted, (std::pair<int64_t, int64_t>{kEnd, kEnd})) << "each minibatch counts once";
    }
    return Weights(cluster.primary());
  }
};

TEST_P(ReplicatedShard, EndsAsAnUndisturbedOneWhenItsPrimariesDie) {
  const ConsistencyOptions& consistency = std::get<1>(GetParam()).consistency;
  const bool exact = consistency.group == consistency.replicas && consistency.drop_stragglers == 0;
  const Floats undisturbed = Train(1, {}, 1);
  for (uint32_t seed = 1; seed <= 24 && !HasFailure(); ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    std::mt19937 random(seed);
    const int first = static_cast<int>(random() % 300), second = first + 1 + static_cast<int>(random() % 300);
    const Floats weights = seed % 2 == 0 ? Train(2, {first}, seed) : Train(3, {first, second}, seed);
    if (exact) {
      EXPECT_TRUE(SameBits(weights, undisturbed));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(RulesAndModes, ReplicatedShard,
                         ::testing::Combine(::testing::ValuesIn(OptimizerRegistry::Names()),
                                            ::testing::ValuesIn(Modes())),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param), "_", std::get<1>(info.param).name);
                         });

// --- Duties

const ShardDuty kBackup{.role = ShardRole::kBackup};
const ShardDuty kAlone;
ShardDuty Leads(std::vector<NodeId> backups, std::vector<NodeId> joining = {}) {
  return {.backups = std::move(backups), .joining = std::move(joining)};
}

class Duties : public ::testing::Test {
 protected:
  std::unique_ptr<Server> primary_ = Make({kWeights, kStatistics});
  std::unique_ptr<Server> backup_ = Make({kWeights});

  static std::unique_ptr<Server> Make(const std::vector<ShardId>& held) {
    return MakeServer(StoreOptions({.replicas = 1, .group = 1}, "momentum", {{"lr", "1"}}), held);
  }
  // A round of the primary, and what it told of it.
  ShardForward Round(Clock clock) {
    EXPECT_EQ(*Push(*primary_->store, {0, 0}, clock, Floats(kLength, 1), clock), Action::kApplyRound);
    return primary_->forwards->added.back();
  }
  void Pair() {
    EXPECT_TRUE(primary_->store->SetDuties(1, {{kWeights, Leads({7})}, {kStatistics, kAlone}}).ok());
    EXPECT_TRUE(backup_->store->SetDuties(1, {{kWeights, kBackup}}).ok());
    EXPECT_TRUE(primary_->store->OnHas(kWeights, 7, 0).ok());
  }
};

TEST_F(Duties, RoundIsToldOnlyWhereThereIsSomebodyToTell) {
  EXPECT_EQ(*Push(*primary_->store, {0, 0}, 0, Floats(kLength, 1)), Action::kApplyRound);
  EXPECT_TRUE(primary_->forwards->added.empty());
  ASSERT_TRUE(primary_->store->SetDuties(1, {{kWeights, Leads({}, {7})}, {kStatistics, kAlone}}).ok());
  const ShardForward forward = Round(1);
  EXPECT_EQ(forward.made, (ShardMark{2, 1}));
  EXPECT_EQ(forward.clock, 1);
  EXPECT_EQ(forward.covered, (std::vector<ReplicaRange>{{0, 0}}));
  EXPECT_EQ(primary_->forwards->flushed, 1);
  EXPECT_EQ(primary_->store->Latest(kWeights)->version, 2) << "who joins is not waited for";
}

TEST_F(Duties, VersionWaitsUntilTheBackupHasIt) {
  Pair();
  const ShardForward forward = Round(0);
  Reader reader;
  primary_->store->Read(kWeights, 0, 1, reader.Callback());
  EXPECT_EQ(reader.answers, 0);
  EXPECT_EQ(primary_->store->Latest(kWeights)->version, 0);
  EXPECT_EQ(*primary_->store->Probe({kWeights, {0, 0}, 0, 0}), PushState::kHeld);
  EXPECT_EQ(primary_->store->NextClocks()[0], (ClockRange{0, 0}));
  EXPECT_EQ(primary_->store->OnHas(kWeights, 7, 9).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(reader.answers, 0);
  ASSERT_TRUE(backup_->store->Forward(1, forward).ok());
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 7, 1).ok());
  EXPECT_EQ(reader.answers, 1);
  EXPECT_EQ(reader.answer->version, 1);
  EXPECT_EQ(*primary_->store->Probe({kWeights, {0, 0}, 0, 0}), PushState::kApplied);
  EXPECT_EQ(primary_->store->NextClocks()[0], (ClockRange{0, 1})) << "of the statistics and of the weights";
}

TEST_F(Duties, NewBackupClosesTheShardUntilItHasAll) {
  Pair();
  EXPECT_TRUE(primary_->store->open());
  ASSERT_TRUE(primary_->store->SetDuties(2, {{kWeights, Leads({7, 8})}, {kStatistics, kAlone}}).ok());
  EXPECT_FALSE(primary_->store->open());
  EXPECT_EQ(primary_->store->Latest(kWeights).status().code(), absl::StatusCode::kUnavailable);
  Reader reader;
  primary_->store->Read(kWeights, 0, 0, reader.Callback());
  EXPECT_EQ(reader.answers, 0);
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 8, 0).ok());
  EXPECT_TRUE(primary_->store->open());
  EXPECT_EQ(reader.answers, 1);
}

TEST_F(Duties, BackupTakesForwardsOfItsTermInOrder) {
  Pair();
  const ShardForward first = Round(0);
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 7, 1).ok());
  const ShardForward second = Round(1);
  EXPECT_EQ(backup_->store->Forward(1, second).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(backup_->store->Forward(2, first).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(backup_->store->Forward(0, first).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(primary_->store->Forward(1, first).code(), absl::StatusCode::kAborted);
  ShardForward elsewhere = first;
  elsewhere.shard = kStatistics;
  EXPECT_EQ(backup_->store->Forward(1, elsewhere).code(), absl::StatusCode::kFailedPrecondition);
  ShardForward shorter = first;
  shorter.gradient = Bytes(Floats(kLength - 1, 1));
  EXPECT_EQ(backup_->store->Forward(1, shorter).code(), absl::StatusCode::kInvalidArgument);
  ShardForward stranger = first;
  stranger.covered = {{0, 1}};
  EXPECT_EQ(backup_->store->Forward(1, stranger).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(backup_->store->Mark(kWeights), (ShardMark{0, 0}));
  EXPECT_TRUE(backup_->store->Forward(1, first).ok());
  EXPECT_TRUE(backup_->store->Forward(1, first).ok());
  EXPECT_EQ(backup_->store->Mark(kWeights), (ShardMark{1, 1}));
}

TEST_F(Duties, BackupAnswersNoWorker) {
  Pair();
  EXPECT_EQ(Push(*backup_->store, {0, 0}, 0, Floats(kLength, 1)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReadNow(*backup_->store, kWeights, 0, 0).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(backup_->store->Probe({kWeights, {0, 0}, 0, 0}).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(backup_->store->Latest(kWeights).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(backup_->store->primaries(), ::testing::IsEmpty());
  EXPECT_TRUE(backup_->store->AppliedRange().empty());
  EXPECT_EQ(Push(*backup_->store, {0, 0}, 0, Floats(1)).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(Duties, HeirHasTheVersionBeforeToo) {
  Pair();
  ASSERT_TRUE(backup_->store->Forward(1, Round(0)).ok());
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 7, 1).ok());
  ASSERT_TRUE(backup_->store->Forward(1, Round(1)).ok());
  ASSERT_TRUE(backup_->store->SetDuties(2, {{kWeights, kAlone}}).ok());
  EXPECT_EQ(ReadNow(*backup_->store, kWeights, 0, 1)->version, 1);
  EXPECT_EQ(ReadNow(*backup_->store, kWeights, 0, 2)->version, 2);
}

TEST_F(Duties, CopyBringsTheVersionBeforeAndGoesOnWithForwards) {
  Pair();
  Round(0);
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 7, 1).ok());
  Round(1);
  const auto joining = Make({});
  ASSERT_TRUE(joining->store->SetDuties(1, {{kWeights, kBackup}}).ok());
  EXPECT_EQ(joining->store->Mark(kWeights), ShardMark());
  ASSERT_TRUE(joining->store->Install(1, CopyOfShard(*primary_->store)).ok());
  EXPECT_EQ(joining->store->Mark(kWeights), (ShardMark{2, 1}));
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 7, 2).ok());
  ASSERT_TRUE(joining->store->Forward(1, Round(2)).ok());
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 7, 3).ok());
  const ShardCopy of_primary = CopyOfShard(*primary_->store);
  ASSERT_TRUE(joining->store->SetDuties(2, {{kWeights, kAlone}}).ok());
  const ShardCopy of_heir = CopyOfShard(*joining->store);
  ExpectSame(of_heir.snapshot, of_primary.snapshot);
  EXPECT_TRUE(SameBits(Values(*of_heir.previous), Values(*of_primary.previous)));
}

TEST_F(Duties, CopyAloneIsEnoughToAnswerTheVersionBefore) {
  Pair();
  Round(0);
  const auto joining = Make({});
  ASSERT_TRUE(joining->store->SetDuties(1, {{kWeights, kBackup}}).ok());
  ASSERT_TRUE(joining->store->Install(1, CopyOfShard(*primary_->store)).ok());
  ASSERT_TRUE(joining->store->SetDuties(2, {{kWeights, kAlone}}).ok());
  EXPECT_EQ(ReadNow(*joining->store, kWeights, 0, 0)->version, 0);
}

TEST_F(Duties, LateCopyDoesNotTakeABackupBack) {
  Pair();
  const ShardCopy early = CopyOfShard(*primary_->store);
  const auto joining = Make({});
  ASSERT_TRUE(joining->store->SetDuties(1, {{kWeights, kBackup}}).ok());
  ASSERT_TRUE(joining->store->Install(1, early).ok());
  ASSERT_TRUE(joining->store->Forward(1, Round(0)).ok());
  EXPECT_TRUE(joining->store->Install(1, early).ok());
  EXPECT_EQ(joining->store->Mark(kWeights).version, 1);
  ASSERT_TRUE(backup_->store->Forward(1, primary_->forwards->added.back()).ok());  // it needed no copy
  EXPECT_TRUE(backup_->store->Install(1, early).ok());
  EXPECT_EQ(backup_->store->Mark(kWeights).version, 1);
  // A new primary may be behind it: then it goes back.
  ASSERT_TRUE(joining->store->SetDuties(2, {{kWeights, kBackup}}).ok());
  EXPECT_TRUE(joining->store->Install(2, early).ok());
  EXPECT_EQ(joining->store->Mark(kWeights).version, 0);
}

TEST_F(Duties, CopyIsOfTheTermAndNotForThePrimary) {
  Pair();
  const ShardCopy copy = CopyOfShard(*primary_->store);
  EXPECT_EQ(backup_->store->Install(2, copy).code(), absl::StatusCode::kAborted);
  EXPECT_EQ(primary_->store->Install(1, copy).code(), absl::StatusCode::kAborted);
  ShardCopy damaged = copy;
  damaged.snapshot.slots.clear();
  EXPECT_EQ(backup_->store->Install(1, damaged).code(), absl::StatusCode::kInvalidArgument);
  damaged = copy;
  damaged.previous = copy.snapshot.weights;
  EXPECT_EQ(backup_->store->Install(1, damaged).code(), absl::StatusCode::kInvalidArgument);
  damaged = copy;
  damaged.snapshot.shard = 9;
  EXPECT_EQ(backup_->store->Install(1, damaged).code(), absl::StatusCode::kInvalidArgument);
  for (const int64_t term : {-1, 2}) {
    damaged = copy;
    damaged.term = term;
    EXPECT_EQ(backup_->store->Install(1, damaged).code(), absl::StatusCode::kInvalidArgument) << term;
  }
  EXPECT_EQ(backup_->store->Mark(kWeights), (ShardMark{0, 0}));
}

TEST_F(Duties, CopyThatTheMapDoesNotGiveIsRefused) {
  Pair();
  const auto joining = Make({});
  ASSERT_TRUE(joining->store->SetDuties(1, {{kStatistics, kBackup}}).ok());
  EXPECT_EQ(joining->store->Install(1, CopyOfShard(*primary_->store)).code(), absl::StatusCode::kAborted);
  EXPECT_THAT(joining->store->held(), ::testing::IsEmpty());
  ASSERT_TRUE(joining->store->SetDuties(2, {{kWeights, kBackup}}).ok());
  EXPECT_EQ(joining->store->Install(2, CopyOfShard(*primary_->store)), absl::OkStatus());
}

// Under the map that it missed another server may have led, and taken back what this one's backup had.
TEST_F(Duties, PrimaryThatMissedAMapKnowsNothingOfItsBackups) {
  Pair();
  ASSERT_TRUE(primary_->store->SetDuties(2, {{kWeights, Leads({7})}, {kStatistics, kAlone}}).ok());
  EXPECT_TRUE(primary_->store->open()) << "the next map: what was told holds";
  ASSERT_TRUE(primary_->store->SetDuties(4, {{kWeights, Leads({7})}, {kStatistics, kAlone}}).ok());
  EXPECT_FALSE(primary_->store->open());
  ASSERT_TRUE(primary_->store->OnHas(kWeights, 7, 0).ok());
  EXPECT_TRUE(primary_->store->open());
}

TEST_F(Duties, PrimaryThatBecomesABackupForgetsOpenRoundsAndCancelsReads) {
  const auto server = MakeServer(StoreOptions({.replicas = 2, .group = 2}), {kWeights});
  const auto other = MakeServer(StoreOptions({.replicas = 2, .group = 2}), {kWeights});
  ASSERT_EQ(*Push(*server->store, {0, 0}, 0, Floats(kLength, 9)), Action::kHold);
  Reader reader;
  server->store->Read(kWeights, 0, 1, reader.Callback());
  ASSERT_TRUE(server->store->SetDuties(1, {{kWeights, kBackup}}).ok());
  ASSERT_EQ(reader.answers, 1);
  EXPECT_TRUE(absl::IsCancelled(reader.answer.status()));
  ASSERT_TRUE(server->store->SetDuties(2, {{kWeights, kAlone}}).ok());
  EXPECT_EQ(*Push(*server->store, {0, 1}, 0, Floats(kLength, 3)), Action::kApplyRound);
  EXPECT_EQ(*Push(*other->store, {0, 1}, 0, Floats(kLength, 3)), Action::kApplyRound);
  EXPECT_TRUE(SameBits(Weights(*server->store), Weights(*other->store)));
}

// What was held as the sum of two replicas comes again one by one.
TEST_F(Duties, PrimaryThatWasABackupAddsAnOpenRoundAnew) {
  const auto server = MakeServer(StoreOptions({.replicas = 4, .group = 4}), {kWeights});
  ASSERT_EQ(*Push(*server->store, {0, 1}, 0, Floats(kLength, 9)), Action::kHold);
  ASSERT_TRUE(server->store->SetDuties(1, {{kWeights, kBackup}}).ok());
  ASSERT_TRUE(server->store->SetDuties(2, {{kWeights, kAlone}}).ok());
  const Floats before = Weights(*server->store);
  for (ReplicaId replica = 3; replica > 0; --replica)
    ASSERT_EQ(*Push(*server->store, {replica, replica}, 0, Floats(kLength, 0)), Action::kHold);
  ASSERT_EQ(*Push(*server->store, {0, 0}, 0, Floats(kLength, 0)), Action::kApplyRound);
  EXPECT_EQ(Weights(*server->store), before);
}

TEST_F(Duties, ShardThatIsGivenAwayIsGone) {
  Reader reader;
  primary_->store->Read(kWeights, 0, 1, reader.Callback());
  ASSERT_TRUE(primary_->store->SetDuties(1, {{kStatistics, kAlone}}).ok());
  ASSERT_EQ(reader.answers, 1);
  EXPECT_TRUE(absl::IsCancelled(reader.answer.status()));
  EXPECT_EQ(primary_->store->held(), std::vector<ShardId>{kStatistics});
  EXPECT_EQ(Push(*primary_->store, {0, 0}, 0, Floats(kLength, 1)).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(primary_->store->SetDuties(2, {{kWeights, kAlone}}).code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(primary_->store->held(), std::vector<ShardId>{kStatistics});
}

TEST_F(Duties, RefusedOnesChangeNothing) {
  EXPECT_EQ(primary_->store->SetDuties(1, {{7, kBackup}}).code(), absl::StatusCode::kInvalidArgument);
  auto options = StoreOptions({.replicas = 2, .group = 1, .staleness = kUnbounded});
  options.correction = {.kind = StalenessCorrection::Kind::kDelayCompensated, .adaptive = true};
  const auto adaptive = MakeServer(options, {kWeights});
  const absl::Status refused = adaptive->store->SetDuties(1, {{kWeights, Leads({7})}});
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("dc_adaptive"));
  EXPECT_TRUE(adaptive->store->SetDuties(1, {{kWeights, kAlone}}).ok());
  const auto alone = MakeStore(StoreOptions({.replicas = 1, .group = 1}));
  EXPECT_EQ(alone->SetDuties(1, {{kWeights, Leads({7})}}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(primary_->store->held().size(), 2u);
}

TEST_F(Duties, PushesBeyondWhatIsReleasedWait) {
  Pair();
  Round(0);
  EXPECT_EQ(Push(*primary_->store, {0, 0}, 1, Floats(kLength, 1), 1).status().code(),
            absl::StatusCode::kUnavailable)
      << "nobody can have the weights of version 1";
  EXPECT_EQ(*Push(*primary_->store, {0, 0}, 0, Floats(kLength, 1)), Action::kAlreadyApplied);
}

TEST_F(Duties, ServerWithoutItsBackupGoesOnAlone) {
  Pair();
  Reader reader;
  Round(0);
  primary_->store->Read(kWeights, 0, 1, reader.Callback());
  ASSERT_TRUE(primary_->store->SetDuties(2, {{kWeights, kAlone}, {kStatistics, kAlone}}).ok());
  EXPECT_EQ(reader.answers, 1);
  primary_->forwards->added.clear();
  EXPECT_EQ(*Push(*primary_->store, {0, 0}, 1, Floats(kLength, 1), 1), Action::kApplyRound);
  EXPECT_TRUE(primary_->forwards->added.empty());
  EXPECT_EQ(primary_->store->Latest(kWeights)->version, 2);
}

}  // namespace
}  // namespace tessera
