// A server's rounds take the memory of versions and partial sums from pools: once all is warm, none comes
// from the heap, whatever the mode and the order of arrival.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/common/large_allocations.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

constexpr int32_t kReplicas = 4;
constexpr int64_t kElements = 5'000;
constexpr Clock kWarm = 4;
constexpr Clock kRounds = 20;

struct Mode {
  std::string name;
  int32_t group;
  int64_t staleness;
  std::string optimizer;
};

// Keeps what the primary tells until it is taken.
class Forwards : public ForwardSink {
 public:
  Forwards() { added.reserve(16); }
  void Add(ShardForward forward) override { added.push_back(std::move(forward)); }
  void Flush(ShardId) override {}
  std::vector<ShardForward> added;
};

class SteadyState : public testing::TestWithParam<Mode> {
 protected:
  static constexpr int64_t kTerm = 1;
  static constexpr NodeId kNode = 7;

  ParameterStoreOptions Options() const {
    ParameterStoreOptions options =
        StoreOptions({.replicas = kReplicas, .group = GetParam().group, .staleness = GetParam().staleness},
                     GetParam().optimizer);
    options.forwards = forwards_;
    return options;
  }
  void Pair() {
    backup_ = MakeStore(Options(), kElements);
    ASSERT_TRUE(backup_->SetDuties(kTerm, {{kWeights, {.role = ShardRole::kBackup}}}).ok());
    ASSERT_TRUE(store_->SetDuties(kTerm, {{kWeights, {.backups = {kNode}}}}).ok());
    ASSERT_TRUE(store_->OnHas(kWeights, kNode, 0).ok());
  }
  void Deliver() {
    for (const ShardForward& forward : forwards_->added) {
      ASSERT_TRUE(backup_->Forward(kTerm, forward).ok());
      ASSERT_TRUE(store_->OnHas(kWeights, kNode, forward.made.version).ok());
    }
    forwards_->added.clear();
  }

  // Every replica pushes minibatch `clock` and reads for the next: first from 0 up, then from the end down,
  // and so on.
  void RunRound(Clock clock) {
    for (int32_t i = 0; i < kReplicas; ++i) {
      const ReplicaId replica = clock % 2 == 0 ? i : kReplicas - 1 - i;
      const Version read = versions_[static_cast<size_t>(replica)];
      ASSERT_TRUE(store_->Push({kWeights, {replica, replica}, clock, read}, gradient_).ok());
      store_->Read(kWeights, replica, clock + 1, [this, replica](const absl::StatusOr<ShardVersion>& answer) {
        ASSERT_TRUE(answer.ok()) << answer.status();
        versions_[static_cast<size_t>(replica)] = answer->version;
      });
      Deliver();
    }
  }

  const std::shared_ptr<Forwards> forwards_ = std::make_shared<Forwards>();
  const std::unique_ptr<ParameterStore> store_ = MakeStore(Options(), kElements);
  std::unique_ptr<ParameterStore> backup_;  // null without one
  const TensorBytes gradient_ = Bytes(Floats(kElements, 0.001F));
  std::vector<Version> versions_ = std::vector<Version>(kReplicas, 0);
};

TEST_P(SteadyState, ARoundTakesNoTensorFromTheHeap) {
  for (Clock clock = 0; clock < kWarm; ++clock) RunRound(clock);
  const int warm = LargeAllocations();
  EXPECT_GT(warm, 0);  // they are counted
  for (Clock clock = kWarm; clock < kRounds; ++clock) RunRound(clock);
  EXPECT_EQ(LargeAllocations() - warm, 0);
}

TEST_P(SteadyState, NorDoesOneThatABackupRepeats) {
  Pair();
  for (Clock clock = 0; clock < kWarm; ++clock) RunRound(clock);
  const int warm = LargeAllocations();
  for (Clock clock = kWarm; clock < kRounds; ++clock) RunRound(clock);
  EXPECT_EQ(LargeAllocations() - warm, 0);
  EXPECT_EQ(backup_->Mark(kWeights), store_->Mark(kWeights));
}

// A shard that is saved is copied, weights and slots; the rounds between take nothing, whoever keeps the
// copies.
TEST(SteadyStateOfSavedShards, OnlyTheRoundOfASnapshotTakesTensorsFromTheHeap) {
  constexpr Version kEvery = 5;
  constexpr Version kAsked = 12;
  std::vector<ShardSnapshot> kept;
  kept.reserve(kRounds);
  ParameterStoreOptions options = StoreOptions({.replicas = 1, .group = 1}, "momentum");
  options.checkpoint_every = kEvery;
  options.on_snapshot = [&kept](ShardSnapshot snapshot) { kept.push_back(std::move(snapshot)); };
  const std::unique_ptr<ParameterStore> store = MakeStore(options, kElements);
  ASSERT_TRUE(store->SnapshotAt(kAsked).ok());
  const TensorBytes gradient = Bytes(Floats(kElements, 0.001F));
  for (Clock clock = 0; clock < kRounds; ++clock) {
    const int before = LargeAllocations();
    ASSERT_TRUE(store->Push({kWeights, {0, 0}, clock, clock}, gradient).ok());
    const Version version = clock + 1;
    const bool saved = version % kEvery == 0 || version == kAsked;
    if (clock >= kWarm) {
      EXPECT_EQ(LargeAllocations() - before, saved ? 2 : 0) << "version " << version;
    }
  }
  EXPECT_EQ(kept.size(), 5U);
}

INSTANTIATE_TEST_SUITE_P(Modes, SteadyState,
                         testing::Values(Mode{"sync", kReplicas, 0, "momentum"},
                                         Mode{"syncAdam", kReplicas, 0, "adam"},
                                         Mode{"grouped", 2, ConsistencyOptions::kUnbounded, "momentum"},
                                         Mode{"ssp", 1, 3, "momentum"},
                                         Mode{"async", 1, ConsistencyOptions::kUnbounded, "sgd"}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace tessera
