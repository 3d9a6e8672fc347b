#include "server/shard_updater.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/server/test_store.h"

namespace tessera {
namespace {

// A convolution with a bias and a normalisation in one block: 6 + 2 + 2 + 2 elements, then 4 of a matrix.
ShardLayout MixedLayout(int64_t shard_bytes) {
  const Initializer one{Initializer::Kind::kConstant, 1};
  const auto weight = [&one](std::string name, Shape shape) {
    return ParameterSpec{std::move(name), std::move(shape), ParameterKind::kWeight, one};
  };
  return ShardLayout::Create({{"mixed",
                               ParameterKind::kWeight,
                               {weight("a.weight", {2, 3}), weight("a.bias", {2}), weight("bn.weight", {2}),
                                weight("bn.bias", {2}), weight("b.weight", {1, 4})}}},
                             shard_bytes)
      .value();
}

TEST(ShardUpdater, NeighboursOfOneRuleAreOneRange) {
  EXPECT_EQ(UpdateRanges(MixedLayout(1 << 10), 0),
            (std::vector<UpdateRange>{{0, 6, false}, {6, 6, true}, {12, 4, false}}));
}

TEST(ShardUpdater, RangesAreCountedFromTheShardsFirstElement) {
  const ShardLayout layout = MixedLayout(4 * sizeof(float));
  ASSERT_EQ(layout.shards().size(), 4U);
  EXPECT_EQ(UpdateRanges(layout, 0), (std::vector<UpdateRange>{{0, 4, false}}));
  EXPECT_EQ(UpdateRanges(layout, 1), (std::vector<UpdateRange>{{0, 2, false}, {2, 2, true}}));
  EXPECT_EQ(UpdateRanges(layout, 2), (std::vector<UpdateRange>{{0, 4, true}}));
  EXPECT_EQ(UpdateRanges(layout, 3), (std::vector<UpdateRange>{{0, 4, false}}));
}

ParameterStoreOptions DecayingOptions(bool exempt) {
  const auto make = [](std::string decay) {
    return OptimizerRegistry::Create("optimizer", "momentum", {{"lr", "0.5"}, {"weight_decay", decay}})
        .value();
  };
  ParameterStoreOptions options = StoreOptions({.replicas = 1, .group = 1});
  options.optimizer = make("0.5");
  if (exempt) options.undecayed_optimizer = make("0");
  return options;
}

// All weights after two rounds with these gradients, from a store with this cut.
Floats TrainMixed(const ParameterStoreOptions& options, int64_t shard_bytes,
                  const std::vector<Floats>& rounds) {
  const ShardLayout layout = MixedLayout(shard_bytes);
  std::vector<ShardId> held;
  for (const Shard& shard : layout.shards()) held.push_back(shard.id);
  const auto store = ParameterStore::Create(options, layout, held).value();
  Floats weights;
  for (const Shard& shard : layout.shards()) {
    for (size_t clock = 0; clock < rounds.size(); ++clock) {
      const auto from = rounds[clock].begin() + shard.offset;
      const auto version = static_cast<int64_t>(clock);
      EXPECT_TRUE(store->Push({shard.id, {0, 0}, version, version}, Bytes({from, from + shard.length})).ok());
    }
    const Floats part = Weights(*store, shard.id);
    weights.insert(weights.end(), part.begin(), part.end());
  }
  return weights;
}

TEST(ShardUpdater, ParametersOfOneDimensionHaveTheUndecayedOptimizer) {
  const Floats zero(16, 0);
  const Floats decayed = TrainMixed(DecayingOptions(false), 1 << 10, {zero});
  EXPECT_EQ(decayed, Floats(16, 0.75F));  // 1 - 0.5 * 0.5 * 1
  const Floats exempt = TrainMixed(DecayingOptions(true), 1 << 10, {zero});
  Floats expected(16, 0.75F);
  for (size_t i = 6; i < 12; ++i) expected[i] = 1;
  EXPECT_EQ(exempt, expected);
}

TEST(ShardUpdater, RangesGiveTheSameBitsForAnyCut) {
  std::mt19937 random(5);
  const std::vector<Floats> rounds = {RandomFloats(random, 16), RandomFloats(random, 16),
                                      RandomFloats(random, 16)};
  const Floats whole = TrainMixed(DecayingOptions(true), 1 << 10, rounds);
  EXPECT_FALSE(SameBits(whole, TrainMixed(DecayingOptions(false), 1 << 10, rounds)));
  for (const int64_t elements : {1, 3, 4, 5, 8}) {
    const auto shard_bytes = elements * static_cast<int64_t>(sizeof(float));
    EXPECT_TRUE(SameBits(TrainMixed(DecayingOptions(true), shard_bytes, rounds), whole)) << elements;
  }
}

// What one update hands out, and what another one, that repeats it, makes of it.
TEST(ShardUpdater, RepeatsAnUpdateToTheLastBit) {
  constexpr size_t kElements = 5000;  // several pieces
  std::mt19937 random(8);
  for (const std::string& name : OptimizerRegistry::Names()) {
    SCOPED_TRACE(name);
    UpdateRule rule{
        .optimizer =
            OptimizerRegistry::Create("optimizer", name, {{"lr", "0.3"}, {"weight_decay", "0.1"}}).value(),
        .rate_scale = 0.7,
        .correction = {.kind = StalenessCorrection::Kind::kDelayCompensated, .lambda = 0.5}};
    ShardUpdater updater(rule, kElements, {{0, kElements, false}});
    ShardUpdater plain(rule, kElements, {{0, kElements, false}});
    ShardUpdater repeater(rule, kElements, {{0, kElements, false}});
    TensorBuffer weights(kElements), next(kElements), final(kElements);
    const Floats first = RandomFloats(random, kElements);
    std::copy(first.begin(), first.end(), weights.data());
    const SharedTensor read = CopyOf(RandomFloats(random, kElements));
    const std::vector<int64_t> staleness = {2, 5, 0};
    for (int64_t update = 1; update <= 3; ++update) {
      const ShardUpdater::Round round{
          .update = update, .progress = 1, .staleness = staleness, .read = read.get()};
      const TensorBytes last = Bytes(RandomFloats(random, kElements));
      const HeldValues partial{read, read->span()};
      updater.Apply(round, weights.span(), RoundSum(last, {partial}), next.span(), final.span());
      TensorBuffer again(kElements);
      plain.Apply(round, weights.span(), RoundSum(last, {partial}), again.span());
      EXPECT_TRUE(SameBits(Values(again), Values(next))) << "handing it out changes nothing";
      const TensorBytes handed = Bytes(Values(final));
      repeater.Repeat({updater.LearningRate(round), update}, weights.span(), RoundSum(handed, {}),
                      again.span());
      EXPECT_TRUE(SameBits(Values(again), Values(next)));
      std::copy_n(next.data(), kElements, weights.data());
    }
    const auto slots = updater.Slots(), repeated = repeater.Slots();
    for (size_t i = 0; i < slots.size(); ++i)
      EXPECT_TRUE(SameBits(Values(*slots[i].values), Values(*repeated[i].values))) << slots[i].name;
  }
}

// An update goes through a shard in pieces: a long shard has the bits of many short ones.
TEST(ShardUpdater, LongShardsGiveTheBitsOfShortOnes) {
  constexpr int64_t kLength = 10'001;
  const auto train = [](int64_t shard_elements) {
    std::mt19937 random(6);
    const ShardLayout layout = TestLayout(kLength, shard_elements * static_cast<int64_t>(sizeof(float)));
    ParameterStoreOptions options = DecayingOptions(false);
    options.consistency.replicas = options.consistency.group = 3;
    const std::vector<Floats> gradients = {RandomFloats(random, kLength), RandomFloats(random, kLength),
                                           RandomFloats(random, kLength)};
    Floats weights;
    for (const Shard& shard : layout.shards()) {
      if (shard.block != 0) continue;
      const auto store = ParameterStore::Create(options, layout, {shard.id}).value();
      for (const ReplicaId replica : {1, 2, 0}) {
        const auto from = gradients[static_cast<size_t>(replica)].begin() + shard.offset;
        EXPECT_TRUE(
            store->Push({shard.id, {replica, replica}, 0, 0}, Bytes({from, from + shard.length})).ok());
      }
      const Floats part = Weights(*store, shard.id);
      weights.insert(weights.end(), part.begin(), part.end());
    }
    return weights;
  };
  const Floats whole = train(kLength);
  EXPECT_TRUE(SameBits(train(100), whole));
  EXPECT_TRUE(SameBits(train(5'000), whole));
}

TEST(ShardUpdater, TwoOptimizersOfDifferentSlotsAreRefused) {
  auto options = DecayingOptions(true);
  options.undecayed_optimizer = OptimizerRegistry::Create("optimizer", "sgd", {{"lr", "0.5"}}).value();
  EXPECT_EQ(ParameterStore::Create(options, MixedLayout(1 << 10), {0}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// --- Slots out and in

UpdateRule RuleWithState(const std::string& optimizer, bool adaptive) {
  UpdateRule rule;
  rule.optimizer = OptimizerRegistry::Create("optimizer", optimizer, {{"lr", "0.5"}}).value();
  rule.correction.kind =
      adaptive ? StalenessCorrection::Kind::kDelayCompensated : StalenessCorrection::Kind::kNone;
  rule.correction.adaptive = adaptive;
  return rule;
}

constexpr size_t kElements = 24;

Floats Step(ShardUpdater& updater, const Floats& weights, const Floats& gradient, int64_t update) {
  const std::vector<int64_t> staleness = {0};
  const TensorBytes bytes = Bytes(gradient);
  Floats next(kElements);
  updater.Apply({.update = update, .staleness = staleness}, weights, RoundSum(bytes, {}),
                absl::MakeSpan(next));
  return next;
}

std::vector<std::string> NamesOf(const std::vector<ShardSnapshot::Slot>& slots) {
  std::vector<std::string> names;
  for (const ShardSnapshot::Slot& slot : slots) names.push_back(slot.name);
  return names;
}

TEST(ShardUpdater, SlotsAreCopiesByNameInTheirOrder) {
  ShardUpdater updater(RuleWithState("adam", true), kElements, {{0, kElements, false}});
  const Floats next = Step(updater, Floats(kElements, 1), Floats(kElements, 2), 1);
  const auto slots = updater.Slots();
  ASSERT_EQ(NamesOf(slots), (std::vector<std::string>{"exp_avg", "exp_avg_sq", "mean_square"}));
  const Floats before = Values(*slots[0].values);
  EXPECT_NE(before, Floats(kElements, 0));
  EXPECT_NE(Values(*slots[2].values), Floats(kElements, 0));
  Step(updater, next, Floats(kElements, 3), 2);
  EXPECT_EQ(Values(*slots[0].values), before);
  EXPECT_NE(Values(*updater.Slots()[0].values), before);
  EXPECT_TRUE(ShardUpdater(RuleWithState("sgd", false), kElements, {{0, kElements, false}}).Slots().empty());
}

TEST(ShardUpdater, GoesOnWithItsSlotsInAnyOrder) {
  std::mt19937 random(9);
  ShardUpdater updater(RuleWithState("adam", true), kElements, {{0, kElements, false}});
  const Floats weights = Step(updater, Floats(kElements, 1), RandomFloats(random, kElements), 1);
  auto slots = updater.Slots();
  ASSERT_EQ(slots.size(), 3U);
  std::reverse(slots.begin(), slots.end());
  ShardUpdater restored(RuleWithState("adam", true), kElements, {{0, kElements, false}});
  ASSERT_TRUE(restored.SetSlots(slots).ok());
  const Floats gradient = RandomFloats(random, kElements);
  EXPECT_TRUE(SameBits(Step(restored, weights, gradient, 2), Step(updater, weights, gradient, 2)));
  EXPECT_FALSE(SameBits(Values(*slots[2].values), Values(*restored.Slots()[0].values)));  // copied, not kept
}

TEST(ShardUpdater, RefusesSlotsThatAreNotItsOwnAndChangesNothing) {
  ShardUpdater updater(RuleWithState("adam", false), kElements, {{0, kElements, false}});
  const SharedTensor good = CopyOf(Floats(kElements, 7));
  const auto refusal = [&updater](const std::vector<ShardSnapshot::Slot>& slots) {
    const absl::Status status = updater.SetSlots(slots);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_EQ(refusal({{"exp_avg", good}}), "no slot exp_avg_sq");
  EXPECT_EQ(refusal({{"exp_avg", good}, {"exp_avg_sq", good}, {"mean_square", good}}),
            "slot mean_square is unknown or there twice");
  EXPECT_EQ(refusal({{"exp_avg", good}, {"exp_avg", good}}), "slot exp_avg is unknown or there twice");
  EXPECT_EQ(refusal({{"exp_avg", good}, {"exp_avg_sq", nullptr}}), "slot exp_avg_sq is empty");
  EXPECT_EQ(refusal({{"exp_avg", good}, {"exp_avg_sq", CopyOf(Floats(kElements - 1, 7))}}),
            "slot exp_avg_sq has 23 elements, not 24");
  for (const ShardSnapshot::Slot& slot : updater.Slots())
    EXPECT_EQ(Values(*slot.values), Floats(kElements, 0));
}

}  // namespace
}  // namespace tessera
