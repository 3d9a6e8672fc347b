// Shards that are saved and restored, over whole stores: training goes on to the last bit, and a shard is
// saved once at each version that it is to be saved at.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/mutex.h"
#include "tests/server/counting_memory.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Action = ConsistencyPolicy::Action;
constexpr Clock kUnbounded = ConsistencyOptions::kUnbounded;
constexpr int64_t kElements = 40;

// `fc` in shards 0 to 2, the statistics of `bn` in shard 3.
ShardLayout FourShards() { return TestLayout(kElements, 64); }
const std::vector<ShardId> kAll = {0, 1, 2, 3};

std::unique_ptr<ParameterStore> StoreOf(const ParameterStoreOptions& options,
                                        const std::vector<ShardId>& held = kAll) {
  auto store = ParameterStore::Create(options, FourShards(), held);
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

// Gets the snapshots of a store, in the order they come. Thread-safe.
class Saved {
 public:
  std::function<void(ShardSnapshot)> Callback() {
    return [this](ShardSnapshot snapshot) {
      MutexLock lock(&mutex_);
      snapshots_.push_back(std::move(snapshot));
    };
  }
  // {shard, version} of each.
  std::vector<std::pair<ShardId, Version>> List() const {
    MutexLock lock(&mutex_);
    std::vector<std::pair<ShardId, Version>> list;
    for (const ShardSnapshot& snapshot : snapshots_) list.emplace_back(snapshot.shard, snapshot.version);
    return list;
  }
  ShardSnapshot Find(ShardId shard, Version version) const {
    MutexLock lock(&mutex_);
    for (const ShardSnapshot& snapshot : snapshots_) {
      if (snapshot.shard == shard && snapshot.version == version) return snapshot;
    }
    ADD_FAILURE() << "shard " << shard << " was not saved at version " << version;
    return {};
  }
  std::function<absl::StatusOr<ShardSnapshot>(ShardId)> Restore(Version version) const {
    return [this, version](ShardId shard) { return Find(shard, version); };
  }

 private:
  mutable Mutex mutex_;
  std::vector<ShardSnapshot> snapshots_ ABSL_GUARDED_BY(mutex_);
};

absl::StatusOr<Action> PushTo(ParameterStore& store, ShardId shard, ReplicaId replica, Clock clock,
                              Version base, float value = 1) {
  const Floats gradient(store.layout().shards()[shard].length, value);
  return store.Push({shard, {replica, replica}, clock, base}, Bytes(gradient));
}

// --- Training goes on as if nothing had been

struct Mode {
  std::string name;
  ConsistencyOptions consistency;
  StalenessCorrection correction;
};

struct Rule {
  std::string name;
  std::string optimizer;
  Options options;
};

constexpr StalenessCorrection kCompensated{.kind = StalenessCorrection::Kind::kDelayCompensated,
                                           .adaptive = true};
constexpr StalenessCorrection kScaled{.kind = StalenessCorrection::Kind::kScale};

std::vector<Mode> Modes() {
  return {{"sync", {.replicas = 6, .group = 6}, {}},
          {"dropping", {.replicas = 6, .group = 6, .drop_stragglers = 2, .units = {{0, 2}, {3, 4}}}, {}},
          {"grouped", {.replicas = 6, .group = 3, .staleness = kUnbounded}, kScaled},
          {"grouped_bounded", {.replicas = 6, .group = 2, .staleness = 1}, {}},
          {"async", {.replicas = 6, .group = 1, .staleness = kUnbounded}, kScaled},
          {"async_compensated", {.replicas = 6, .group = 1, .staleness = kUnbounded}, kCompensated},
          {"ssp", {.replicas = 6, .group = 1, .staleness = 2}, {}}};
}

// Every registered one, without being told; and one with all the slots that it can have.
std::vector<Rule> Rules() {
  std::vector<Rule> rules;
  for (const std::string& name : OptimizerRegistry::Names()) {
    rules.push_back({name, name, {{"lr", "0.01"}, {"weight_decay", "0.001"}}});
  }
  rules.push_back(
      {"rmsprop_centered", "rmsprop", {{"lr", "0.01"}, {"centered", "true"}, {"momentum", "0.9"}}});
  return rules;
}

// The replicas of one shard: they read, compute and push in random order.
class RandomReplicas {
 public:
  RandomReplicas(const ParameterStoreOptions& options, ParameterStore& store, ShardId shard)
      : group_(options.consistency.group),
        store_(&store),
        shard_(shard),
        replicas_(std::make_shared<std::vector<Replica>>(options.consistency.replicas)) {}

  // Until the shard is at `version`.
  void RunTo(Version version, uint32_t seed) {
    std::mt19937 random(seed);
    for (int events = 0; store_->Latest(shard_)->version < version; ++events) {
      ASSERT_LT(events, 100000) << "no replica gets on";
      const auto replica = static_cast<ReplicaId>(random() % replicas_->size());
      const Replica& one = (*replicas_)[replica];
      if (one.base.has_value()) {
        Push(replica);
      } else if (!one.reading) {
        Read(replica);
      }
    }
  }

  // The same replicas go on with `store`, on what it remembers: they read anew, and push again what was not
  // applied.
  void GoOnWith(ParameterStore& store, const PolicySnapshot& policy) {
    store_ = &store;
    // Answers to reads of before find nobody.
    replicas_ = std::make_shared<std::vector<Replica>>(*replicas_);
    for (size_t i = 0; i < replicas_->size(); ++i) {
      Replica& one = (*replicas_)[i];
      one.reading = false;
      one.base.reset();
      if (one.clock <= policy.group_clocks[i / group_]) continue;
      --one.clock;
      one.base = one.pushed_base;
      Push(static_cast<ReplicaId>(i));
    }
  }

 private:
  struct Replica {
    Clock clock = 0;
    bool reading = false;
    std::optional<Version> base;  // that it computes on
    Version pushed_base = 0;      // of its last push
  };

  void Read(ReplicaId replica) {
    (*replicas_)[replica].reading = true;
    store_->Read(shard_, replica, (*replicas_)[replica].clock,
                 [replica, weak = std::weak_ptr(replicas_)](const absl::StatusOr<ShardVersion>& read) {
                   const auto replicas = weak.lock();
                   if (replicas == nullptr) return;
                   ASSERT_TRUE(read.ok()) << read.status();
                   (*replicas)[replica].reading = false;
                   (*replicas)[replica].base = read->version;
                 });
  }

  void Push(ReplicaId replica) {
    Replica& one = (*replicas_)[replica];
    std::mt19937 random(static_cast<uint32_t>(1000 * one.clock + replica));
    const Floats gradient = RandomFloats(random, store_->layout().shards()[shard_].length);
    const Version base = *one.base;
    const auto action = store_->Push({shard_, {replica, replica}, one.clock, base}, Bytes(gradient));
    ASSERT_TRUE(action.ok()) << action.status();
    one.clock = *action == Action::kDropped ? store_->Latest(shard_)->version : one.clock + 1;
    one.base.reset();
    one.pushed_base = base;
  }

  size_t group_;
  ParameterStore* store_;
  ShardId shard_;
  std::shared_ptr<std::vector<Replica>> replicas_;
};

void ExpectSame(const ShardSnapshot& a, const ShardSnapshot& b) {
  EXPECT_EQ(a.version, b.version);
  EXPECT_EQ(a.applied_pushes, b.applied_pushes);
  EXPECT_EQ(a.policy, b.policy);
  EXPECT_TRUE(SameBits(Values(*a.weights), Values(*b.weights)));
  ASSERT_EQ(a.slots.size(), b.slots.size());
  for (size_t i = 0; i < a.slots.size(); ++i) {
    EXPECT_EQ(a.slots[i].name, b.slots[i].name);
    EXPECT_TRUE(SameBits(Values(*a.slots[i].values), Values(*b.slots[i].values))) << a.slots[i].name;
  }
}

class RestoredStores : public ::testing::TestWithParam<std::tuple<Rule, Mode>> {
 protected:
  static constexpr Version kCut = 7;
  static constexpr Version kEnd = 25;

  static ParameterStoreOptions OptionsFor(Saved& saved) {
    const auto& [rule, mode] = GetParam();
    ParameterStoreOptions options = StoreOptions(mode.consistency, rule.optimizer, rule.options);
    options.correction = mode.correction;
    // Every update has a rate of its own, by how many minibatches came before it.
    options.schedule = CreateSchedule("cosine", {}, {.total_steps = 50, .steps_per_epoch = 10}).value();
    options.on_snapshot = saved.Callback();
    return options;
  }
};

TEST_P(RestoredStores, TrainOnToTheLastBit) {
  for (uint32_t seed = 0; seed < 4; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Saved undisturbed;
    const auto whole = StoreOf(OptionsFor(undisturbed));
    ASSERT_TRUE(whole->SnapshotAt(kCut).ok());
    ASSERT_TRUE(whole->SnapshotAt(kEnd).ok());
    std::vector<RandomReplicas> replicas;
    for (const ShardId shard : kAll) {
      replicas.emplace_back(OptionsFor(undisturbed), *whole, shard);
      ASSERT_NO_FATAL_FAILURE(replicas.back().RunTo(kCut, 100 * seed + shard));
    }

    Saved after;
    ParameterStoreOptions options = OptionsFor(after);
    options.restore = undisturbed.Restore(kCut);
    const auto first = StoreOf(options, {3, 0});
    const auto second = StoreOf(options, {1, 2});
    for (ParameterStore* store : {first.get(), second.get()}) {
      ASSERT_TRUE(store->SnapshotAt(kEnd).ok());
      for (const ShardId shard : store->held()) {
        SCOPED_TRACE(absl::StrCat("shard ", shard));
        const PolicySnapshot policy = undisturbed.Find(shard, kCut).policy;
        RandomReplicas again = replicas[shard];
        again.GoOnWith(*store, policy);
        replicas[shard].GoOnWith(*whole, policy);
        ASSERT_NO_FATAL_FAILURE(again.RunTo(kEnd, seed));
        ASSERT_NO_FATAL_FAILURE(replicas[shard].RunTo(kEnd, seed));
        ExpectSame(after.Find(shard, kEnd), undisturbed.Find(shard, kEnd));
      }
    }
    EXPECT_EQ(first->dropped() + second->dropped(), whole->dropped());
    EXPECT_EQ(after.List().size(), kAll.size());
  }
}

INSTANTIATE_TEST_SUITE_P(RulesAndModes, RestoredStores,
                         ::testing::Combine(::testing::ValuesIn(Rules()), ::testing::ValuesIn(Modes())),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).name, "_",
                                               std::get<1>(info.param).name);
                         });

// --- What a restored store is

const ConsistencyOptions kSync1{.replicas = 1, .group = 1};

ParameterStoreOptions SavingOptions(Saved& saved, Version every,
                                    const ConsistencyOptions& consistency = kSync1) {
  ParameterStoreOptions options = StoreOptions(consistency, "momentum", {{"lr", "0.5"}});
  options.on_snapshot = saved.Callback();
  options.checkpoint_every = every;
  return options;
}

// Rounds of one replica on every shard, from version to version.
void Train(ParameterStore& store, Version from, Version to) {
  for (Clock clock = from; clock < to; ++clock) {
    for (const ShardId shard : store.held())
      ASSERT_EQ(*PushTo(store, shard, 0, clock, clock), Action::kApplyRound);
  }
}

TEST(RestoredStore, HasItsOwnVersionAndNoneBefore) {
  Saved saved;
  Train(*StoreOf(SavingOptions(saved, 3)), 0, 5);
  auto options = SavingOptions(saved, 0);
  options.restore = saved.Restore(3);
  const auto store = StoreOf(options);
  EXPECT_EQ(store->VersionRange(), (std::pair<Version, Version>{3, 3}));
  EXPECT_EQ(store->AppliedRange(), (std::vector<std::pair<int64_t, int64_t>>{{3, 3}}));
  EXPECT_TRUE(SameBits(Values(*ReadNow(*store, 0, 0, 3)->weights), Values(*saved.Find(0, 3).weights)));
  const absl::Status gone = ReadNow(*store, 0, 0, 2).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("version 2 is gone"));
  EXPECT_EQ(*PushTo(*store, 0, 0, 2, 2), Action::kAlreadyApplied);
  Reader next;
  store->Read(0, 0, 4, next.Callback());
  EXPECT_EQ(next.answers, 0);
  ASSERT_EQ(*PushTo(*store, 0, 0, 3, 3), Action::kApplyRound);
  EXPECT_EQ(next.answer->version, 4);
  EXPECT_TRUE(ReadNow(*store, 0, 0, 3).ok());
}

TEST(RestoredStore, LiesInTheMemoryForVersionsBlockByBlock) {
  Saved saved;
  Train(*StoreOf(SavingOptions(saved, 3)), 0, 3);
  auto options = SavingOptions(saved, 0);
  options.restore = saved.Restore(3);
  const auto memory =
      std::make_shared<CountingMemory>(ParameterStore::VersionBytes(options, FourShards(), kAll));
  options.version_memory = memory;
  const auto store = StoreOf(options);
  const size_t at_start = memory->bytes;
  for (Version version = 3; version < 7; ++version) {
    for (const ShardId shard : {0, 1}) {
      const SharedTensor left = ReadNow(*store, shard, 0, version)->weights;
      EXPECT_EQ(left->data() + left->size(), ReadNow(*store, shard + 1, 0, version)->weights->data());
    }
    Train(*store, version, version + 1);
  }
  EXPECT_EQ(memory->bytes, at_start);
  EXPECT_EQ(memory->refused, 0);
}

TEST(RestoredStore, RefusesASnapshotThatDoesNotFitAndNamesTheShard) {
  Saved saved;
  Train(*StoreOf(SavingOptions(saved, 2)), 0, 2);
  const auto refusal = [&saved](auto damage) {
    ParameterStoreOptions options = SavingOptions(saved, 0);
    options.restore = [&saved, damage](ShardId shard) {
      ShardSnapshot snapshot = saved.Find(shard, 2);
      if (shard == 2) damage(snapshot);
      return snapshot;
    };
    const absl::Status status = ParameterStore::Create(options, FourShards(), kAll).status();
    EXPECT_TRUE(status.ok() || status.code() == absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()),
                status.ok() ? HasSubstr("") : HasSubstr("the snapshot of fc [32,40)"));
    return std::string(status.message());
  };
  using S = ShardSnapshot;
  EXPECT_EQ(refusal([](S&) {}), "");
  EXPECT_THAT(refusal([](S& s) { s.shard = 1; }), HasSubstr("it is of shard 1"));
  EXPECT_THAT(refusal([](S& s) { s.weights = nullptr; }), HasSubstr("0 weights, not 8"));
  EXPECT_THAT(refusal([](S& s) { s.weights = CopyOf(Floats(9)); }), HasSubstr("9 weights, not 8"));
  EXPECT_THAT(refusal([](S& s) { s.version = 3; }), HasSubstr("version 3"));
  EXPECT_THAT(refusal([](S& s) { s.applied_pushes = -1; }), HasSubstr("-1 minibatches"));
  EXPECT_THAT(refusal([](S& s) { s.policy.group_clocks[0] = -2; }), HasSubstr("the clock of group 0 is -2"));
  EXPECT_THAT(refusal([](S& s) { s.slots.clear(); }), HasSubstr("no slot momentum_buffer"));
  EXPECT_THAT(refusal([](S& s) { s.slots[0].name = "exp_avg"; }), HasSubstr("slot exp_avg is unknown"));
}

TEST(RestoredStore, HandsOnWhyThereIsNoSnapshot) {
  Saved saved;
  auto options = SavingOptions(saved, 0);
  options.restore = [](ShardId) { return absl::DataLossError("server-0.safetensors is damaged"); };
  const absl::Status status = ParameterStore::Create(options, FourShards(), kAll).status();
  EXPECT_EQ(status, absl::DataLossError("server-0.safetensors is damaged"));
}

// --- When a shard is saved

using Cuts = std::vector<std::pair<ShardId, Version>>;

TEST(SavedShards, AreSavedOnceAtEveryMultipleAndWhereAskedFor) {
  Saved saved;
  const auto store = StoreOf(SavingOptions(saved, 3), {0, 3});
  ASSERT_TRUE(store->SnapshotAt(4).ok());
  ASSERT_TRUE(store->SnapshotAt(6).ok());  // is saved anyway
  ASSERT_TRUE(store->SnapshotAt(4).ok());
  Train(*store, 0, 8);
  EXPECT_EQ(saved.List(), (Cuts{{0, 3}, {3, 3}, {0, 4}, {3, 4}, {0, 6}, {3, 6}}));
}

TEST(SavedShards, AreNotSavedByWhatAppliesNothing) {
  Saved saved;
  const auto store = StoreOf(SavingOptions(saved, 1, {.replicas = 2, .group = 2}), {0});
  ASSERT_EQ(*PushTo(*store, 0, 0, 0, 0), Action::kHold);
  EXPECT_EQ(saved.List(), Cuts{});
  ASSERT_EQ(*PushTo(*store, 0, 1, 0, 0), Action::kApplyRound);
  ASSERT_EQ(*PushTo(*store, 0, 1, 0, 0), Action::kAlreadyApplied);
  ASSERT_EQ(*PushTo(*store, 0, 1, 1, 1), Action::kHold);
  ASSERT_EQ(*PushTo(*store, 0, 1, 1, 1), Action::kDuplicate);
  EXPECT_EQ(saved.List(), (Cuts{{0, 1}}));
  // What is held of the open round is no part of it.
  EXPECT_EQ(saved.Find(0, 1).policy, (PolicySnapshot{{1}, {1, 1}, {1, 1}, 0}));
}

TEST(SavedShards, AreNotSavedAgainAtTheVersionTheyWereRestoredAt) {
  Saved saved;
  Train(*StoreOf(SavingOptions(saved, 2), {0}), 0, 2);
  Saved after;
  auto options = SavingOptions(after, 2);
  options.restore = saved.Restore(2);
  const auto store = StoreOf(options, {0});
  EXPECT_EQ(store->SnapshotAt(2).code(), absl::StatusCode::kFailedPrecondition);
  Train(*store, 2, 4);
  EXPECT_EQ(after.List(), (Cuts{{0, 4}}));
}

TEST(SavedShards, AreNotAskedForAVersionThatIsThereAlready) {
  Saved saved;
  const auto store = StoreOf(SavingOptions(saved, 0));
  Train(*store, 0, 1);
  ASSERT_EQ(*PushTo(*store, 2, 0, 1, 1), Action::kApplyRound);
  EXPECT_EQ(store->SnapshotAt(0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store->SnapshotAt(-1).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status past = store->SnapshotAt(2);
  EXPECT_EQ(past.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(past.message()),
              AllOf(HasSubstr("fc [32,40)"), HasSubstr("version 2"), HasSubstr("it is at 2")));
  EXPECT_TRUE(store->SnapshotAt(3).ok());
}

TEST(SavedShards, AreAskedForSoManyVersionsAndNoMore) {
  Saved saved;
  const auto store = StoreOf(SavingOptions(saved, 0));
  for (size_t i = 1; i <= ParameterStore::kMaxAskedSnapshots; ++i)
    ASSERT_TRUE(store->SnapshotAt(static_cast<Version>(i)).ok());
  EXPECT_EQ(store->SnapshotAt(1000).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(store->SnapshotAt(1).ok());
  Train(*store, 0, 1);
  EXPECT_TRUE(store->SnapshotAt(1000).ok());
}

TEST(SavedShards, NeedSomebodyWhoGetsThem) {
  Saved saved;
  const auto code = [](const ParameterStoreOptions& options) {
    return ParameterStore::Create(options, FourShards(), kAll).status().code();
  };
  auto nobody = SavingOptions(saved, 2);
  nobody.on_snapshot = nullptr;
  EXPECT_EQ(code(nobody), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(SavingOptions(saved, -1)), absl::StatusCode::kInvalidArgument);
  nobody.checkpoint_every = 0;
  EXPECT_EQ(StoreOf(nobody)->SnapshotAt(1).code(), absl::StatusCode::kFailedPrecondition);
}

TEST(SavedShards, AreCopiesThatHoldNoMemoryForVersions) {
  Saved saved;
  auto options = SavingOptions(saved, 1);
  const auto memory =
      std::make_shared<CountingMemory>(ParameterStore::VersionBytes(options, FourShards(), kAll));
  options.version_memory = memory;
  const auto store = StoreOf(options);
  const size_t at_start = memory->bytes;
  Train(*store, 0, 1);
  EXPECT_NE(saved.Find(0, 1).weights->data(), store->Latest(0)->weights->data());
  EXPECT_TRUE(SameBits(Values(*saved.Find(0, 1).weights), Weights(*store, 0)));
  const Floats before = Values(*saved.Find(0, 1).weights);
  const Floats slot = Values(*saved.Find(0, 1).slots[0].values);
  Train(*store, 1, 10);  // while all snapshots are kept
  EXPECT_EQ(memory->bytes, at_start);
  EXPECT_TRUE(SameBits(Values(*saved.Find(0, 1).weights), before));
  EXPECT_TRUE(SameBits(Values(*saved.Find(0, 1).slots[0].values), slot));
}

TEST(SavedShards, LeaveWithoutLocksHeldAndBeforeTheAnswers) {
  std::unique_ptr<ParameterStore> store;
  std::vector<std::string> order;
  Saved unused;
  auto options = SavingOptions(unused, 1);
  options.on_snapshot = [&](const ShardSnapshot& snapshot) {
    order.push_back(absl::StrCat("snapshot ", snapshot.version));
    EXPECT_EQ(store->Latest(snapshot.shard)->version, snapshot.version);
    EXPECT_TRUE(store->SnapshotAt(snapshot.version + 5).ok());
  };
  store = StoreOf(options, {0});
  store->Read(0, 0, 1, [&](const absl::StatusOr<ShardVersion>& read) {
    order.push_back(absl::StrCat("read ", read->version));
  });
  ASSERT_EQ(*PushTo(*store, 0, 0, 0, 0), Action::kApplyRound);
  EXPECT_EQ(order, (std::vector<std::string>{"snapshot 1", "read 1"}));
}

TEST(SavedShards, AreSavedOnceWhileThreadsPushAndAsk) {
  Saved saved;
  const auto store = StoreOf(SavingOptions(saved, 2));
  std::vector<std::thread> threads;
  for (const ShardId shard : kAll) {
    threads.emplace_back([&store, shard] {
      for (Clock clock = 0; clock < 50; ++clock) EXPECT_TRUE(PushTo(*store, shard, 0, clock, clock).ok());
    });
  }
  Version asked = 0;  // that every shard took on
  for (Version version = 1; version < 50; version += 2) {
    if (store->SnapshotAt(version).ok()) asked = version;
  }
  for (std::thread& thread : threads) thread.join();
  Cuts cuts = saved.List();
  std::sort(cuts.begin(), cuts.end());
  EXPECT_EQ(std::adjacent_find(cuts.begin(), cuts.end()), cuts.end());
  for (const ShardId shard : kAll) {
    for (Version version = 2; version <= 50; version += 2)
      EXPECT_EQ(saved.Find(shard, version).version, version);
    if (asked > 0) {
      EXPECT_EQ(saved.Find(shard, asked).version, asked);
    }
  }
}

// --- Units that change

TEST(ParameterStoreUnits, ChangeOnEveryShard) {
  Saved saved;
  const auto store = StoreOf(
      SavingOptions(saved, 0, {.replicas = 4, .group = 4, .drop_stragglers = 1, .units = {{0, 1}, {2, 3}}}));
  ASSERT_TRUE(store->SetUnits({{0, 0}, {1, 1}, {2, 2}, {3, 3}}).ok());
  EXPECT_EQ(store->SetUnits({{0, 4}}).code(), absl::StatusCode::kInvalidArgument);
  for (const ShardId shard : kAll) {
    ASSERT_EQ(*PushTo(*store, shard, 0, 0, 0), Action::kHold);
    ASSERT_EQ(*PushTo(*store, shard, 1, 0, 0), Action::kHold);
    EXPECT_EQ(*PushTo(*store, shard, 3, 0, 0), Action::kApplyRound);
  }
}

}  // namespace
}  // namespace tessera
