// What each mode of consistency and each staleness correction makes of pushes and reads, over whole stores.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/parameter_store.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

using Action = ConsistencyPolicy::Action;
constexpr Clock kUnbounded = ConsistencyOptions::kUnbounded;
const ConsistencyOptions kAsync2{.replicas = 2, .group = 1, .staleness = kUnbounded};
const ConsistencyOptions kDropping3{.replicas = 3, .group = 3, .drop_stragglers = 1};

Floats Minus(Floats weights, const Floats& step) {
  for (size_t i = 0; i < weights.size(); ++i) weights[i] -= step[i];
  return weights;
}

// --- Reads

TEST(ParameterStoreModes, SettledReadWaitsForEveryGroup) {
  const auto store = MakeStore(StoreOptions(kAsync2));
  const Floats gradient(kLength, 1);
  Reader settled;
  Reader alone;
  ASSERT_TRUE(Push(*store, {0, 0}, 0, gradient).ok());
  store->Read(kWeights, 0, 1, settled.Callback(), ReadRule::kSettled);
  store->Read(kWeights, 0, 1, alone.Callback());
  EXPECT_EQ(alone.answers, 1);
  EXPECT_EQ(settled.answers, 0);
  EXPECT_EQ(store->parked_reads(), 1U);
  ASSERT_TRUE(Push(*store, {1, 1}, 0, gradient).ok());
  ASSERT_EQ(settled.answers, 1);
  EXPECT_EQ(settled.answer->version, 2);
  EXPECT_EQ(settled.answer->weights, store->Latest(kWeights)->weights);
}

TEST(ParameterStoreModes, SettledReadOfTheUnknownIsRefusedAtOnce) {
  const auto store = MakeStore(StoreOptions(kAsync2));
  const auto code = [&store](ReplicaId replica, Clock clock) {
    Reader reader;
    store->Read(kWeights, replica, clock, reader.Callback(), ReadRule::kSettled);
    EXPECT_EQ(reader.answers, 1);
    return reader.answer.status().code();
  };
  EXPECT_EQ(code(2, 0), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, -1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(0, 2), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->parked_reads(), 0U);
}

TEST(ParameterStoreModes, SettledReadInSyncIsTheExactVersion) {
  const auto store = SyncStore(1);
  for (Clock clock = 0; clock < 2; ++clock) {
    ASSERT_TRUE(Push(*store, {0, 0}, clock, Floats(kLength, 1), clock).ok());
  }
  Reader reader;
  store->Read(kWeights, 0, 1, reader.Callback(), ReadRule::kSettled);
  EXPECT_EQ(reader.answer->version, 1);
}

TEST(ParameterStoreModes, AStragglersReadIsAnsweredWithTheNewestVersion) {
  const auto store = MakeStore(StoreOptions(kDropping3));
  for (Clock clock = 0; clock < 3; ++clock) {
    ASSERT_TRUE(Push(*store, {0, 1}, clock, Floats(kLength, 1), clock).ok());
  }
  EXPECT_EQ(ReadNow(*store, kWeights, 2, 0)->version, 3);  // without drops: gone
  EXPECT_EQ(ReadNow(*store, kWeights, 2, 3)->version, 3);
  // Another shard is a round ahead of this one and told it to jump there.
  Reader ahead;
  store->Read(kWeights, 2, 4, ahead.Callback());
  EXPECT_EQ(ahead.answers, 0);
  ASSERT_TRUE(Push(*store, {0, 1}, 3, Floats(kLength, 1), 3).ok());
  ASSERT_EQ(ahead.answers, 1);
  EXPECT_EQ(ahead.answer->version, 4);
  EXPECT_EQ(*Push(*store, {2, 2}, 4, Floats(kLength, 1), 4), Action::kHold);
}

// --- Counters

TEST(ParameterStoreModes, ClockLeadIsTheLargestDistanceToTheSlowestGroup) {
  const auto store = MakeStore(StoreOptions({.replicas = 2, .group = 1, .staleness = 3}));
  const Floats gradient(kLength, 1);
  EXPECT_EQ(store->staleness().clock_lead_max, 0);
  for (Clock clock = 0; clock < 3; ++clock) ASSERT_TRUE(Push(*store, {0, 0}, clock, gradient).ok());
  EXPECT_EQ(store->staleness().clock_lead_max, 2);
  ASSERT_TRUE(Push(*store, {1, 1}, 0, gradient).ok());
  EXPECT_EQ(store->staleness().clock_lead_max, 2);
  for (Clock clock = 3; clock < 5; ++clock) ASSERT_TRUE(Push(*store, {0, 0}, clock, gradient).ok());
  EXPECT_EQ(store->staleness().clock_lead_max, 3);
}

TEST(ParameterStoreModes, AppliedRangeSpansTheHeldShards) {
  const auto store = MakeStore(StoreOptions(kAsync2));
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());
  ASSERT_TRUE(Push(*store, {0, 0}, 1, Floats(kLength, 1)).ok());
  ASSERT_TRUE(Push(*store, {1, 1}, 0, Floats(kLength, 1)).ok());
  ASSERT_TRUE(store->Push({kStatistics, {0, 0}, 0, 0}, Bytes(Floats(8, 1))).ok());
  using Range = std::pair<int64_t, int64_t>;
  EXPECT_EQ(store->AppliedRange(), (std::vector<Range>{{1, 2}, {0, 1}}));
  const auto empty = ParameterStore::Create(StoreOptions(kAsync2), TestLayout(kLength, 1 << 20), {}).value();
  EXPECT_TRUE(empty->AppliedRange().empty());
}

TEST(ParameterStoreModes, DroppedCountsReplicasOverAllShards) {
  const auto store = MakeStore(StoreOptions(kDropping3));
  ASSERT_TRUE(Push(*store, {0, 1}, 0, Floats(kLength, 1)).ok());
  ASSERT_TRUE(Push(*store, {0, 1}, 1, Floats(kLength, 1), 1).ok());
  ASSERT_TRUE(store->Push({kStatistics, {0, 1}, 0, 0}, Bytes(Floats(8, 1))).ok());
  EXPECT_EQ(*Push(*store, {2, 2}, 0, Floats(kLength, 1)), Action::kDropped);
  EXPECT_EQ(store->dropped(), 3);
}

// --- Every minibatch is applied exactly once

struct Mode {
  std::string name;
  ConsistencyOptions consistency;
  StalenessCorrection correction;
};

const StalenessCorrection kCompensated{.kind = StalenessCorrection::Kind::kDelayCompensated,
                                       .adaptive = true};

std::vector<Mode> Modes() {
  return {{"sync", {.replicas = 6, .group = 6}, {}},
          {"dropping", {.replicas = 6, .group = 6, .drop_stragglers = 2, .units = {{0, 2}, {3, 4}}}, {}},
          {"grouped", {.replicas = 6, .group = 3, .staleness = kUnbounded}, {}},
          {"grouped_bounded", {.replicas = 6, .group = 2, .staleness = 1}, {}},
          {"async", {.replicas = 6, .group = 1, .staleness = kUnbounded}, {}},
          {"async_compensated", {.replicas = 6, .group = 1, .staleness = kUnbounded}, kCompensated},
          {"ssp", {.replicas = 6, .group = 1, .staleness = 3}, {}}};
}

constexpr Clock kClocks = 12;

Floats GradientOf(ReplicaId replica, Clock clock) {
  std::mt19937 random(static_cast<uint32_t>(1000 * clock + replica));
  return RandomFloats(random, kLength);
}

// Replicas that read, compute and push in random order. They lose answers and so push again, also what was
// applied long ago. One shard.
class RandomReplicas {
 public:
  RandomReplicas(const Mode& mode, uint32_t seed) : random_(seed), replicas_(mode.consistency.replicas) {
    ParameterStoreOptions options =
        StoreOptions(mode.consistency, "momentum", {{"lr", "0.0001"}, {"weight_decay", "0.001"}});
    options.correction = mode.correction;
    store_ = ParameterStore::Create(options, TestLayout(kLength, 1 << 20), {kWeights}).value();
  }

  void Run() {
    for (int events = 0; !Done(); ++events) {
      ASSERT_LT(events, 100000) << "no replica gets on";
      const auto replica = static_cast<ReplicaId>(random_() % replicas_.size());
      Replica& one = replicas_[replica];
      if (one.clock == kClocks) continue;
      if (!one.reading && !one.base.has_value()) {
        Read(replica);
      } else if (one.base.has_value()) {
        Push(replica);
      }
    }
  }

  ParameterStore& store() { return *store_; }

 private:
  struct Replica {
    Clock clock = 0;
    bool reading = false;
    std::optional<Version> base;  // that it computes on
  };

  bool Done() const {
    return std::all_of(replicas_.begin(), replicas_.end(),
                       [](const Replica& r) { return r.clock == kClocks; });
  }

  void Read(ReplicaId replica) {
    replicas_[replica].reading = true;
    store_->Read(kWeights, replica, replicas_[replica].clock,
                 [this, replica](absl::StatusOr<ShardVersion> read) {
                   ASSERT_TRUE(read.ok()) << read.status();
                   replicas_[replica].reading = false;
                   replicas_[replica].base = read->version;
                 });
  }

  void Push(ReplicaId replica) {
    const Clock clock = replicas_[replica].clock;
    const auto action = PushOf(replica, clock);
    ASSERT_TRUE(action.ok()) << action.status();
    if (*action == Action::kDropped) return GoOn(replica, store_->Latest(kWeights)->version);
    if (random_() % 4 != 0) GoOn(replica, clock + 1);  // else it did not hear the answer
    if (random_() % 4 == 0) {
      ASSERT_TRUE(PushOf(replica, static_cast<Clock>(random_() % (clock + 1))).ok());
    }
  }

  absl::StatusOr<Action> PushOf(ReplicaId replica, Clock clock) {
    return tessera::Push(*store_, {replica, replica}, clock, GradientOf(replica, clock),
                         replicas_[replica].base.value_or(0));
  }

  void GoOn(ReplicaId replica, Clock clock) { replicas_[replica] = {.clock = std::min(clock, kClocks)}; }

  std::mt19937 random_;
  std::vector<Replica> replicas_;
  std::unique_ptr<ParameterStore> store_;
};

class EveryMode : public ::testing::TestWithParam<Mode> {};

TEST_P(EveryMode, AppliesEveryMinibatchExactlyOnceOrDropsIt) {
  const ConsistencyOptions& consistency = GetParam().consistency;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomReplicas replicas(GetParam(), seed);
    ASSERT_NO_FATAL_FAILURE(replicas.Run());
    ParameterStore& store = replicas.store();
    EXPECT_EQ(store.Latest(kWeights)->version, kClocks * consistency.replicas / consistency.group);
    int64_t applied = 0;
    for (const auto& [min, max] : store.AppliedRange()) {
      EXPECT_EQ(min, max);
      applied += min;
      EXPECT_TRUE(min == kClocks || consistency.drop_stragglers > 0) << min;
    }
    EXPECT_EQ(applied + store.dropped(), kClocks * consistency.replicas);
    EXPECT_EQ(store.staleness().pushes, applied);
    EXPECT_TRUE(store.dropped() == 0 || consistency.drop_stragglers > 0) << store.dropped();
  }
}

TEST_P(EveryMode, KeepsTheBoundsOfItsPolicy) {
  const ConsistencyOptions& consistency = GetParam().consistency;
  const int64_t bound = consistency.StalenessBoundVersions();
  int64_t stalest = 0;
  for (uint32_t seed = 0; seed < 30; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RandomReplicas replicas(GetParam(), seed);
    ASSERT_NO_FATAL_FAILURE(replicas.Run());
    const StalenessStats stats = replicas.store().staleness();
    stalest = std::max(stalest, stats.max);
    if (bound == kUnbounded) continue;
    EXPECT_LE(stats.max, bound);  // 0 with one group, also where stragglers are dropped
    EXPECT_LE(stats.clock_lead_max, consistency.group == consistency.replicas ? 0 : consistency.staleness);
  }
  EXPECT_EQ(stalest > 0, bound != 0);
}

INSTANTIATE_TEST_SUITE_P(Modes, EveryMode, ::testing::ValuesIn(Modes()),
                         [](const auto& info) { return info.param.name; });

// Means are over who is present, in the order of the tree; what was dropped leaves no trace.
TEST(ParameterStoreModes, DroppedGradientsLeaveNoTraceInAnyBit) {
  for (uint32_t seed = 0; seed < 50; ++seed) {
    std::mt19937 random(seed);
    const auto store = MakeStore(StoreOptions({.replicas = 5, .group = 5, .drop_stragglers = 2}));
    Floats expected = Weights(*store);
    std::vector<ReplicaId> order = {0, 1, 2, 3, 4};
    for (Clock clock = 0; clock < 5; ++clock) {
      std::shuffle(order.begin(), order.end(), random);
      std::vector<Floats> present(5);
      for (const ReplicaId replica : order) {
        const Action action = *Push(*store, {replica, replica}, clock, GradientOf(replica, clock), clock);
        if (action != Action::kDropped) present[replica] = GradientOf(replica, clock);
      }
      Floats mean = NaiveTreeSum(present);
      for (float& value : mean) value /= 3;
      expected = Minus(expected, mean);
      ASSERT_TRUE(SameBits(Weights(*store), expected)) << "seed " << seed << ", clock " << clock;
    }
  }
}

// --- Corrections

ParameterStoreOptions Corrected(const StalenessCorrection& correction,
                                const ConsistencyOptions& consistency = kAsync2) {
  ParameterStoreOptions options = StoreOptions(consistency);
  options.linear_lr_scaling = false;
  options.correction = correction;
  return options;
}

constexpr StalenessCorrection kScale{.kind = StalenessCorrection::Kind::kScale};

constexpr StalenessCorrection Compensation(double lambda, bool adaptive = false) {
  return {.kind = StalenessCorrection::Kind::kDelayCompensated, .lambda = lambda, .adaptive = adaptive};
}

TEST(ParameterStoreModes, ScaleTakesThePlaceOfTheLinearFactor) {
  for (const bool linear : {true, false}) {
    ParameterStoreOptions options = Corrected(kScale);
    options.linear_lr_scaling = linear;
    const auto store = MakeStore(options);
    for (Clock clock = 0; clock < 3; ++clock) {
      const Floats before = Weights(*store);
      ASSERT_TRUE(Push(*store, {1, 1}, clock, Floats(kLength, 2), clock).ok());
      EXPECT_TRUE(SameBits(Weights(*store), Minus(before, Floats(kLength, 2)))) << "not stale, full rate";
    }
    const Floats before = Weights(*store);
    ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 2), 0).ok());  // 3 versions old
    EXPECT_TRUE(SameBits(Weights(*store), Minus(before, Floats(kLength, 0.5F))));
  }
}

TEST(ParameterStoreModes, ScaleOfAGroupIsByItsMeanStaleness) {
  const auto store = MakeStore(Corrected(kScale, {.replicas = 4, .group = 2, .staleness = kUnbounded}));
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 8), 0).ok());
  for (Clock clock = 0; clock < 4; ++clock) {
    ASSERT_TRUE(Push(*store, {2, 3}, clock, Floats(kLength, 1), clock).ok());
  }
  const Floats before = Weights(*store);
  ASSERT_TRUE(Push(*store, {1, 1}, 0, Floats(kLength, 8), 2).ok());  // stale by 4 and 2: lr / 4
  EXPECT_TRUE(SameBits(Weights(*store), Minus(before, Floats(kLength, 2))));
}

// Replica 0 reads version 0, replica 1 changes the weights, then replica 0 pushes `gradient`.
std::unique_ptr<ParameterStore> AfterAStalePush(const StalenessCorrection& correction, const Floats& other,
                                                const Floats& gradient) {
  auto store = MakeStore(Corrected(correction));
  EXPECT_TRUE(ReadNow(*store, kWeights, 0, 0).ok());
  EXPECT_TRUE(ReadNow(*store, kWeights, 1, 0).ok());
  EXPECT_EQ(*Push(*store, {1, 1}, 0, other, 0), Action::kApplyRound);
  EXPECT_EQ(*Push(*store, {0, 0}, 0, gradient, 0), Action::kApplyRound);
  return store;
}

Floats InitialWeightsOf() { return Weights(*MakeStore(Corrected({}))); }

TEST(ParameterStoreModes, DelayCompensationAddsWhatTheWeightsDrifted) {
  const Floats other = GradientOf(1, 0);
  const Floats gradient = GradientOf(0, 0);
  const auto store = AfterAStalePush(Compensation(0.25), other, gradient);
  const Floats read = InitialWeightsOf();
  const Floats now = Minus(read, other);
  Floats step = gradient;
  for (size_t i = 0; i < step.size(); ++i) step[i] += 0.25F * step[i] * step[i] * (now[i] - read[i]);
  EXPECT_TRUE(SameBits(Weights(*store), Minus(now, step)));
  EXPECT_FALSE(SameBits(Weights(*store), Minus(now, gradient)));
}

TEST(ParameterStoreModes, AdaptiveCompensationKnowsTheGradientsOfAllReplicas) {
  const auto store = AfterAStalePush(Compensation(2, true), Floats(kLength, 3), Floats(kLength, 1));
  const Floats read = InitialWeightsOf();
  // The running mean of squares after 3 and 1; the weights fell by 3 meanwhile.
  const double mean_square = 0.95 * (0.05 * 9) + 0.05 * 1;
  const double step = 1 + 2 / std::sqrt(mean_square + 1e-7) * 1 * -3;
  for (size_t i = 0; i < read.size(); ++i) EXPECT_NEAR(Weights(*store)[i], read[i] - 3 - step, 1e-5);
}

TEST(ParameterStoreModes, WhatIsNotStaleKeepsItsBits) {
  Floats gradient = GradientOf(0, 0);
  gradient[0] = 1e30F;  // its square overflows: infinity times no drift would be NaN
  for (const StalenessCorrection& correction : {Compensation(0.5), Compensation(2, true), kScale}) {
    const auto corrected = MakeStore(Corrected(correction));
    const auto plain = MakeStore(Corrected({}));
    for (Clock clock = 0; clock < 3; ++clock) {
      ASSERT_TRUE(ReadNow(*corrected, kWeights, 0, clock).ok());
      ASSERT_TRUE(Push(*corrected, {0, 0}, clock, gradient, clock).ok());
      ASSERT_TRUE(Push(*plain, {0, 0}, clock, gradient, clock).ok());
    }
    EXPECT_TRUE(SameBits(Weights(*corrected), Weights(*plain)));
  }
}

TEST(ParameterStoreModes, CompensationByZeroKeepsTheBits) {
  Floats gradient = GradientOf(0, 0);
  gradient[0] = 1e30F;
  const auto zero = AfterAStalePush(Compensation(0), GradientOf(1, 0), gradient);
  const auto none = AfterAStalePush({}, GradientOf(1, 0), gradient);
  EXPECT_TRUE(SameBits(Weights(*zero), Weights(*none)));
}

TEST(ParameterStoreModes, AGradientOfWeightsNobodyKeptIsNotCompensated) {
  // Another worker took replica 0 over and read for it; then the push of the first one arrives.
  const auto store = MakeStore(Corrected(Compensation(0.5)));
  ASSERT_TRUE(ReadNow(*store, kWeights, 0, 0).ok());
  ASSERT_TRUE(Push(*store, {1, 1}, 0, Floats(kLength, 1), 0).ok());
  ASSERT_EQ(ReadNow(*store, kWeights, 0, 0)->version, 1);
  ASSERT_TRUE(Push(*store, {1, 1}, 1, Floats(kLength, 1), 1).ok());
  const Floats before = Weights(*store);
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 2), 0).ok());
  EXPECT_TRUE(SameBits(Weights(*store), Minus(before, Floats(kLength, 2))));
}

TEST(ParameterStoreModes, TheVersionThatAReplicaReadIsKeptUntilItsPush) {
  const auto store = MakeStore(Corrected(Compensation(0.5)));
  const std::weak_ptr<const TensorBuffer> read = ReadNow(*store, kWeights, 0, 0)->weights;
  ASSERT_TRUE(Push(*store, {1, 1}, 0, Floats(kLength, 1), 0).ok());
  EXPECT_FALSE(read.expired());
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1), 0).ok());
  EXPECT_TRUE(read.expired());
}

TEST(ParameterStoreModes, AsynchronousModesKeepNoSpareVersion) {
  const auto store = MakeStore(Corrected({}));
  const std::weak_ptr<const TensorBuffer> first = ReadNow(*store, kWeights, 0, 0)->weights;
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1), 0).ok());
  EXPECT_TRUE(first.expired());
}

TEST(ParameterStoreModes, StatisticsAreNeverCorrected) {
  const auto statistics = [](const StalenessCorrection& correction) {
    const auto store = MakeStore(Corrected(correction));
    EXPECT_TRUE(ReadNow(*store, kStatistics, 0, 0).ok());
    EXPECT_TRUE(store->Push({kStatistics, {1, 1}, 0, 0}, Bytes(Floats(8, 4))).ok());
    EXPECT_TRUE(store->Push({kStatistics, {0, 0}, 0, 0}, Bytes(Floats(8, 3))).ok());
    return Weights(*store, kStatistics);
  };
  const Floats plain = statistics({});
  EXPECT_TRUE(SameBits(statistics(kScale), plain));
  EXPECT_TRUE(SameBits(statistics(Compensation(0.5)), plain));
  EXPECT_TRUE(SameBits(statistics(Compensation(0.5, true)), plain));
}

TEST(ParameterStoreModes, DelayCompensationNeedsGroupsOfOne) {
  const auto options = Corrected(Compensation(0.04), {.replicas = 4, .group = 2, .staleness = kUnbounded});
  EXPECT_EQ(ParameterStore::Create(options, TestLayout(kLength, 1 << 20), {0}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace tessera
