#include "server/parameter_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <future>
#include <iterator>
#include <memory>
#include <numeric>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/protocol.h"
#include "common/replica_tree.h"
#include "tests/server/counting_memory.h"
#include "tests/server/test_store.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Action = ConsistencyPolicy::Action;

TEST(ParameterStore, StartsFromSeedAndNameAlone) {
  const auto options = StoreOptions({.replicas = 1, .group = 1});
  const auto whole = MakeStore(options);
  const Floats all = Weights(*whole);
  EXPECT_NE(all, Floats(kLength, 0));
  EXPECT_EQ(Weights(*whole, kStatistics), (Floats{0, 0, 0, 0, 1, 1, 1, 1}));

  // Another cut, and a server that holds the second half alone.
  const auto half = ParameterStore::Create(options, TestLayout(kLength, kLength * 2), {1}).value();
  const auto size = static_cast<ptrdiff_t>(Weights(*half, 1).size());
  EXPECT_TRUE(SameBits(Weights(*half, 1), Floats(all.end() - size, all.end())));

  auto other_seed = options;
  other_seed.seed = 12;
  EXPECT_NE(Weights(*MakeStore(other_seed)), all);
}

TEST(ParameterStore, AppliesTheMeanOfTheRoundOnce) {
  const auto store = SyncStore(2);
  const Floats start = Weights(*store);
  EXPECT_EQ(*Push(*store, {0, 0}, 0, Floats(kLength, 1)), Action::kHold);
  EXPECT_EQ(*Push(*store, {0, 0}, 0, Floats(kLength, 1)), Action::kDuplicate);
  EXPECT_TRUE(SameBits(Weights(*store), start));
  EXPECT_EQ(*Push(*store, {1, 1}, 0, Floats(kLength, 2)), Action::kApplyRound);
  Floats expected = start;
  for (float& weight : expected) weight -= 1.5F;
  EXPECT_TRUE(SameBits(Weights(*store), expected));
  EXPECT_EQ(*Push(*store, {0, 1}, 0, Floats(kLength, 9)), Action::kAlreadyApplied);
  EXPECT_TRUE(SameBits(Weights(*store), expected));
  EXPECT_EQ(store->Latest(kWeights)->version, 1);
}

TEST(ParameterStore, SyncReadNamesItsExactVersion) {
  const auto store = SyncStore(1);
  std::vector<Floats> versions = {Weights(*store)};
  for (Clock clock = 0; clock < 3; ++clock) {
    ASSERT_EQ(*Push(*store, {0, 0}, clock, Floats(kLength, 1), clock), Action::kApplyRound);
    versions.push_back(Weights(*store));
  }
  EXPECT_EQ(ReadNow(*store, kWeights, 0, 3)->version, 3);
  const auto before = ReadNow(*store, kWeights, 0, 2);
  EXPECT_EQ(before->version, 2);
  EXPECT_TRUE(SameBits(Values(*before->weights), versions[2]));
  const absl::Status gone = ReadNow(*store, kWeights, 0, 1).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(gone.message()), AllOf(HasSubstr("fc [0,24)"), HasSubstr("version 1 is gone")));
}

TEST(ParameterStore, AReadFurtherAheadThanAnyReplicaCanBeIsRefusedAndNotParked) {
  const auto store = SyncStore(2);
  const absl::Status ahead = ReadNow(*store, kWeights, 0, 2 + kHandoverLead).status();
  EXPECT_EQ(ahead.code(), absl::StatusCode::kFailedPrecondition) << ahead;
  EXPECT_EQ(ReadNow(*store, kWeights, 0, int64_t{1} << 62).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->parked_reads(), 0U);
}

TEST(ParameterStore, WhoTakesAReplicaOverMayWaitForTheClockItIsHandedOverAt) {
  const auto store = SyncStore(2);
  Reader reader;
  store->Read(kWeights, 0, 1 + kHandoverLead, reader.Callback());
  for (Clock clock = 0; clock <= kHandoverLead; ++clock) {
    EXPECT_EQ(reader.answers, 0) << clock;
    ASSERT_TRUE(Push(*store, {0, 1}, clock, Floats(kLength, 1)).ok());
  }
  EXPECT_EQ(reader.answer->version, 1 + kHandoverLead);
}

TEST(ParameterStore, ReadIsParkedUntilItsRoundIsApplied) {
  const auto store = SyncStore(2);
  Reader first;
  Reader second;
  store->Read(kWeights, 0, 1, first.Callback());
  EXPECT_EQ(store->parked_reads(), 1U);
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(first.answers, 0);
  ASSERT_TRUE(Push(*store, {1, 1}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(first.answers, 1);
  EXPECT_EQ(first.answer->version, 1);
  store->Read(kWeights, 1, 2, second.Callback());
  EXPECT_EQ(second.answers, 0);
  EXPECT_EQ(store->parked_reads(), 1U);
  ASSERT_TRUE(Push(*store, {0, 1}, 1, Floats(kLength, 1)).ok());
  EXPECT_EQ(second.answer->version, 2);
  EXPECT_EQ(store->parked_reads(), 0U);
}

TEST(ParameterStore, AnswerMayUseTheStore) {
  // Answers leave without locks held, so that they may push and read themselves.
  const auto store = SyncStore(1);
  Reader next;
  std::optional<absl::StatusOr<Action>> pushed;
  store->Read(kWeights, 0, 1, [&](absl::StatusOr<ShardVersion>) {
    store->Read(kWeights, 0, 2, next.Callback());
    pushed = Push(*store, {0, 0}, 1, Floats(kLength, 1), 1);
  });
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(**pushed, Action::kApplyRound);
  EXPECT_EQ(next.answer->version, 2);
}

TEST(ParameterStore, VersionsAreImmutableAndShared) {
  const auto store = SyncStore(1);
  const auto held = ReadNow(*store, kWeights, 0, 0);
  const Floats before = Values(*held->weights);
  EXPECT_EQ(ReadNow(*store, kWeights, 0, 0)->weights, held->weights);  // one buffer for all readers
  for (Clock clock = 0; clock < 5; ++clock) {
    ASSERT_TRUE(Push(*store, {0, 0}, clock, Floats(kLength, 1), clock).ok());
  }
  EXPECT_TRUE(SameBits(Values(*held->weights), before));
}

// Two replicas over a layer of three shards, with no more memory for versions than the store says it needs.
TEST(ParameterStore, InSyncABlockIsOnePieceOfMemoryAndReadersOfAStepTakeNoMore) {
  auto options = StoreOptions({.replicas = 2, .group = 2});
  const ShardLayout layout = TestLayout(40, 64);
  const std::vector<ShardId> held = {0, 1, 2, 3};
  const auto memory = std::make_shared<CountingMemory>(ParameterStore::VersionBytes(options, layout, held));
  options.version_memory = memory;
  const auto store = ParameterStore::Create(options, layout, held).value();
  const size_t at_start = memory->bytes;
  std::vector<std::vector<SharedTensor>> reading(2);  // by replica: what its step computes on
  std::mt19937 random(5);
  for (Clock clock = 0; clock < 6; ++clock) {
    for (int replica : {0, 1}) {
      reading[replica].clear();  // the step before is over
      for (const ShardId shard : held)
        reading[replica].push_back(ReadNow(*store, shard, replica, clock)->weights);
      for (const ShardId shard : {0, 1}) {
        const SharedTensor& left = reading[replica][shard];
        EXPECT_EQ(left->data() + left->size(), reading[replica][shard + 1]->data()) << "version " << clock;
      }
    }
    std::vector<ShardId> order = held;
    for (int replica : {0, 1}) {
      std::shuffle(order.begin(), order.end(), random);
      for (const ShardId shard : order) {
        const Floats gradient(layout.shards()[shard].length, 0.5F);
        ASSERT_TRUE(store->Push({shard, {replica, replica}, clock, clock}, Bytes(gradient)).ok());
      }
    }
    EXPECT_EQ(memory->bytes, at_start);
  }
  EXPECT_EQ(memory->refused, 0);
  EXPECT_EQ(at_start, 2 * layout.total_bytes());
}

TEST(ParameterStore, OutsideOfSyncNothingButTheNewestVersionIsHeldForNobody) {
  auto options = StoreOptions({.replicas = 2, .group = 1, .staleness = ConsistencyOptions::kUnbounded});
  const ShardLayout layout = TestLayout(40, 64);
  const auto memory = std::make_shared<CountingMemory>();
  options.version_memory = memory;
  const auto store = ParameterStore::Create(options, layout, {0, 1, 2, 3}).value();
  for (Clock clock = 0; clock < 3; ++clock) {
    EXPECT_EQ(memory->bytes, static_cast<size_t>(layout.total_bytes()));
    ASSERT_TRUE(store->Push({0, {0, 0}, clock, clock}, Bytes(Floats(16, 1))).ok());
  }
}

TEST(ParameterStore, RefusesAPushAsAWhole) {
  const auto store = SyncStore(2);
  const Floats start = Weights(*store);
  const Floats gradient(kLength, 1);
  const auto refusal = [&](const PushHeader& header, const Floats& values) {
    return store->Push(header, Bytes(values)).status();
  };
  const absl::Status length = refusal({kWeights, {0, 0}, 0, 0}, Floats(kLength - 1, 1));
  EXPECT_EQ(length.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(length.message()),
              AllOf(HasSubstr("fc [0,24)"), HasSubstr("replicas 0"), HasSubstr("92 bytes, not 96")));
  EXPECT_EQ(refusal({7, {0, 0}, 0, 0}, gradient).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(refusal({-1, {0, 0}, 0, 0}, gradient).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(refusal({kWeights, {0, 2}, 0, 0}, gradient).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal({kWeights, {0, 0}, 0, 1}, gradient).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(refusal({kWeights, {0, 0}, 0, -1}, gradient).code(), absl::StatusCode::kInvalidArgument);
  const absl::Status skip = refusal({kWeights, {0, 0}, 2, 0}, gradient);
  EXPECT_EQ(skip.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(skip.message()), AllOf(HasSubstr("fc [0,24)"), HasSubstr("clock 2")));

  // None of them left a trace.
  ASSERT_EQ(*Push(*store, {0, 0}, 0, gradient), Action::kHold);
  ASSERT_EQ(*Push(*store, {1, 1}, 0, gradient), Action::kApplyRound);
  Floats expected = start;
  for (float& weight : expected) weight -= 1;
  EXPECT_TRUE(SameBits(Weights(*store), expected));
}

TEST(ParameterStore, RefusesReadsOfTheUnknown) {
  const auto store = ParameterStore::Create(StoreOptions({.replicas = 1, .group = 1}),
                                            TestLayout(kLength, 1 << 20), {kWeights})
                         .value();
  const absl::Status elsewhere = ReadNow(*store, kStatistics, 0, 0).status();
  EXPECT_EQ(elsewhere.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(elsewhere.message()), HasSubstr("bn statistics [0,8)"));
  EXPECT_EQ(ReadNow(*store, 99, 0, 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store->Latest(kStatistics).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadNow(*store, kWeights, 1, 0).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ReadNow(*store, kWeights, 0, -1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ParameterStore, RefusesOptionsItCannotServe) {
  const auto code = [](ParameterStoreOptions options, const std::vector<ShardId>& held) {
    return ParameterStore::Create(std::move(options), TestLayout(kLength, 1 << 20), held).status().code();
  };
  const auto good = StoreOptions({.replicas = 4, .group = 4});
  auto no_optimizer = good;
  no_optimizer.optimizer = nullptr;
  auto bad_momentum = good;
  bad_momentum.statistics_momentum = 2;
  EXPECT_EQ(code(good, {0, 1}), absl::StatusCode::kOk);
  EXPECT_EQ(code(good, {}), absl::StatusCode::kOk);
  EXPECT_EQ(code(good, {0, 2}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(good, {-1}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(good, {0, 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(no_optimizer, {0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(bad_momentum, {0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(StoreOptions({.replicas = 4, .group = 3}), {0}), absl::StatusCode::kInvalidArgument);
}

TEST(ParameterStore, CloseAnswersWhoeverWaits) {
  const auto store = SyncStore(1);
  Reader parked;
  store->Read(kWeights, 0, 1, parked.Callback());
  store->Close();
  store->Close();
  EXPECT_EQ(parked.answers, 1);
  EXPECT_EQ(parked.answer.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(ReadNow(*store, kWeights, 0, 0).status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(store->Latest(kWeights).ok());
  EXPECT_EQ(store->parked_reads(), 0U);
}

TEST(ParameterStore, DestructionAnswersWhoeverWaits) {
  Reader parked;
  auto store = SyncStore(1);
  store->Read(kWeights, 0, 1, parked.Callback());
  store.reset();
  EXPECT_EQ(parked.answers, 1);
  EXPECT_EQ(parked.answer.status().code(), absl::StatusCode::kCancelled);
}

size_t ThreadsOfThisProcess() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(begin(tasks), end(tasks)));
}

TEST(ParameterStore, ThousandsOfParkedReadsNeedNoThread) {
  const auto store = SyncStore(1);
  const size_t threads = ThreadsOfThisProcess();
  constexpr int kReads = 20000;
  int answers = 0;
  const TensorBuffer* shared = nullptr;
  for (int i = 0; i < kReads; ++i) {
    store->Read(kWeights, 0, 1, [&](absl::StatusOr<ShardVersion> read) {
      ++answers;
      if (shared == nullptr) shared = read->weights.get();
      EXPECT_EQ(read->weights.get(), shared);
    });
  }
  EXPECT_EQ(store->parked_reads(), static_cast<size_t>(kReads));
  EXPECT_EQ(ThreadsOfThisProcess(), threads);
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());
  EXPECT_EQ(answers, kReads);
}

TEST(ParameterStore, ParkedReadsAreBounded) {
  const auto store = SyncStore(1);
  for (size_t i = 0; i < ParameterStore::kMaxParkedReads; ++i) {
    store->Read(kWeights, 0, 1, [](const absl::StatusOr<ShardVersion>&) {});
  }
  EXPECT_EQ(ReadNow(*store, kWeights, 0, 1).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(ReadNow(*store, kWeights, 0, 0).ok());
}

TEST(ParameterStore, ReadersNeverSeeATornVersion) {
  constexpr int64_t kLarge = 1 << 16;
  constexpr Clock kRounds = 200;
  const auto store = MakeStore(StoreOptions({.replicas = 2, .group = 2}), kLarge);
  // The first round makes all weights equal; from then on every version must be of one value.
  Floats to_zero = Weights(*store);
  for (float& value : to_zero) value *= 2;  // the mean of two, of which the other is 0
  ASSERT_TRUE(Push(*store, {0, 0}, 0, to_zero).ok());
  ASSERT_TRUE(Push(*store, {1, 1}, 0, Floats(kLarge, 0)).ok());

  std::atomic<bool> stop = false;
  std::atomic<int> torn = 0;
  const auto check = [&torn](const ShardVersion& read) {
    const Floats values = Values(*read.weights);
    const auto expected = -static_cast<float>(read.version - 1);
    if (std::any_of(values.begin(), values.end(), [expected](float v) { return v != expected; })) ++torn;
  };
  std::thread reader([&] {
    while (!stop) check(*store->Latest(kWeights));
  });
  const auto train = [&](ReplicaId replica) {
    const TensorBytes gradient = Bytes(Floats(kLarge, 1));
    for (Clock clock = 1; clock <= kRounds; ++clock) {
      ASSERT_TRUE(store->Push({kWeights, {replica, replica}, clock, clock}, gradient).ok());
      const auto next = std::make_shared<std::promise<ShardVersion>>();
      std::future<ShardVersion> weights = next->get_future();
      store->Read(kWeights, replica, clock + 1,
                  [next](absl::StatusOr<ShardVersion> read) { next->set_value(*std::move(read)); });
      ASSERT_EQ(weights.wait_for(std::chrono::minutes(1)), std::future_status::ready);
      check(weights.get());
    }
  };
  std::thread other([&] { train(1); });
  train(0);
  other.join();
  stop = true;
  reader.join();
  EXPECT_EQ(torn, 0);
  EXPECT_EQ(store->Latest(kWeights)->version, kRounds + 1);
}

TEST(ParameterStore, StatisticsMoveByTheirMomentum) {
  const auto store = SyncStore(2);
  ASSERT_TRUE(store->Push({kStatistics, {0, 1}, 0, 0}, Bytes(Floats(8, 4))).ok());  // the mean of two is 2
  const float m = 0.1F;
  const Floats expected = {0 + m * 2, 0 + m * 2, 0 + m * 2, 0 + m * 2, 1 + m, 1 + m, 1 + m, 1 + m};
  EXPECT_TRUE(SameBits(Weights(*store, kStatistics), expected));
}

// A factor that tells at which progress it was asked.
class ProgressSchedule : public Schedule {
 public:
  double Factor(double progress) const override { return progress; }
};

TEST(ParameterStore, ProgressCountsMinibatchesOfAllReplicas) {
  // With lr = progress and gradient 1, the weights fall by the sum of what the schedule was asked.
  auto options = StoreOptions({.replicas = 4, .group = 2, .staleness = ConsistencyOptions::kUnbounded});
  options.schedule = std::make_shared<ProgressSchedule>();
  options.linear_lr_scaling = false;
  const auto store = MakeStore(options);
  const float start = Weights(*store)[0];
  for (Clock clock = 0; clock < 4; ++clock) {
    ASSERT_TRUE(Push(*store, {2, 3}, clock, Floats(kLength, 2)).ok());  // progress 0, 0.5, 1, 1.5
  }
  EXPECT_NEAR(Weights(*store)[0], start - 3, 1e-6);
}

TEST(ParameterStore, LearningRateScalesWithTheGroup) {
  for (const bool scaling : {true, false}) {
    auto options = StoreOptions({.replicas = 4, .group = 1, .staleness = ConsistencyOptions::kUnbounded});
    options.linear_lr_scaling = scaling;
    const auto store = MakeStore(options);
    Floats expected = Weights(*store);
    for (float& weight : expected) weight -= scaling ? 0.25F : 1.0F;
    ASSERT_TRUE(Push(*store, {3, 3}, 0, Floats(kLength, 1)).ok());
    EXPECT_TRUE(SameBits(Weights(*store), expected));
  }
}

TEST(ParameterStore, DroppedReplicaLeavesTheMeanOfThosePresent) {
  const auto store = MakeStore(StoreOptions({.replicas = 3, .group = 3, .drop_stragglers = 1}));
  Floats expected = Weights(*store);
  for (float& weight : expected) weight -= 3;
  ASSERT_EQ(*Push(*store, {2, 2}, 0, Floats(kLength, 2)), Action::kHold);
  ASSERT_EQ(*Push(*store, {0, 0}, 0, Floats(kLength, 4)), Action::kApplyRound);
  EXPECT_TRUE(SameBits(Weights(*store), expected));
  EXPECT_EQ(*Push(*store, {1, 1}, 0, Floats(kLength, 100)), Action::kDropped);
  EXPECT_TRUE(SameBits(Weights(*store), expected));
  EXPECT_EQ(store->staleness().pushes, 2);
}

TEST(ParameterStore, RecordsTheStalenessOfAppliedPushes) {
  const auto store =
      MakeStore(StoreOptions({.replicas = 4, .group = 2, .staleness = ConsistencyOptions::kUnbounded}));
  const Floats gradient(kLength, 1);
  ASSERT_TRUE(Push(*store, {0, 0}, 0, gradient, 0).ok());  // held while the other group goes on
  for (Clock clock = 0; clock < 3; ++clock) ASSERT_TRUE(Push(*store, {2, 3}, clock, gradient, clock).ok());
  ASSERT_TRUE(Push(*store, {0, 0}, 0, gradient, 3).ok());  // a duplicate says nothing of the first
  ASSERT_TRUE(Push(*store, {1, 1}, 0, gradient, 2).ok());
  const StalenessStats stats = store->staleness();
  EXPECT_EQ(stats.pushes, 8);
  EXPECT_EQ(stats.sum, 3 + 1);
  EXPECT_EQ(stats.max, 3);
  EXPECT_EQ(stats.histogram[0], 6);
  EXPECT_EQ(stats.histogram[1], 1);
  EXPECT_EQ(stats.histogram[3], 1);
  EXPECT_EQ(std::accumulate(stats.histogram.begin(), stats.histogram.end(), int64_t{0}), 8);
}

TEST(ParameterStore, VersionRangeSpansTheHeldShards) {
  const auto store = SyncStore(1);
  EXPECT_EQ(store->VersionRange(), (std::pair<Version, Version>{0, 0}));
  ASSERT_TRUE(Push(*store, {0, 0}, 0, Floats(kLength, 1)).ok());
  ASSERT_TRUE(Push(*store, {0, 0}, 1, Floats(kLength, 1)).ok());
  ASSERT_TRUE(store->Push({kStatistics, {0, 0}, 0, 0}, Bytes(Floats(8, 1))).ok());
  EXPECT_EQ(store->VersionRange(), (std::pair<Version, Version>{1, 2}));
}

// The gradient of a replica's minibatch: a pure function, as in a deterministic job.
Floats Gradient(ReplicaId replica, Clock clock) {
  std::mt19937 random(static_cast<uint32_t>(1000 * clock + replica));
  return RandomFloats(random, kLength);
}

std::vector<Floats> Gradients(int32_t replicas, Clock clock) {
  std::vector<Floats> gradients;
  for (ReplicaId replica = 0; replica < replicas; ++replica) gradients.push_back(Gradient(replica, clock));
  return gradients;
}

// One cluster's life in a round: replicas cut between workers at random, each pushing the fewest nodes; some
// pushes come twice, some replicas once more from a worker that sums differently. In random order.
std::vector<ReplicaRange> RandomPushes(std::mt19937& random, int32_t replicas) {
  std::vector<ReplicaRange> pushes;
  for (const int cut : {0, 1}) {
    for (ReplicaId first = 0; first < replicas;) {
      const auto last = static_cast<ReplicaId>(first + random() % (replicas - first));
      for (const ReplicaRange node : ReplicaTree(replicas).Cover({first, last})) {
        if (cut == 0 || random() % 3 == 0) pushes.push_back(node);
        if (random() % 4 == 0) pushes.push_back(node);
      }
      first = last + 1;
    }
  }
  std::shuffle(pushes.begin(), pushes.end(), random);
  return pushes;
}

constexpr Clock kRounds = 4;

std::unique_ptr<ParameterStore> MomentumStore(int32_t replicas) {
  return MakeStore(StoreOptions({.replicas = replicas, .group = replicas}, "momentum",
                                {{"lr", "0.01"}, {"weight_decay", "0.001"}}));
}

// One worker runs all replicas and pushes the root.
Floats TrainByOneWorker(int32_t replicas) {
  const auto store = MomentumStore(replicas);
  for (Clock clock = 0; clock < kRounds; ++clock) {
    const Floats sum = NaiveTreeSum(Gradients(replicas, clock));
    EXPECT_EQ(*Push(*store, {0, replicas - 1}, clock, sum, clock), Action::kApplyRound);
  }
  return Weights(*store);
}

// Any cluster, with retries, also of rounds long applied; every round must be applied exactly once.
Floats TrainByAnyCluster(int32_t replicas, uint32_t seed) {
  std::mt19937 random(seed);
  const auto store = MomentumStore(replicas);
  for (Clock clock = 0; clock < kRounds; ++clock) {
    int applied = 0;
    for (const ReplicaRange range : RandomPushes(random, replicas)) {
      const Clock retried = random() % 5 == 0 ? static_cast<Clock>(random() % (clock + 1)) : clock;
      for (const Clock at : {retried, clock}) {
        const auto action = Push(*store, range, at, NodeSum(Gradients(replicas, at), range), at);
        EXPECT_TRUE(action.ok()) << action.status();
        if (*action == Action::kApplyRound) ++applied;
      }
    }
    EXPECT_EQ(applied, 1);
    EXPECT_EQ(store->Latest(kWeights)->version, clock + 1);
  }
  EXPECT_EQ(store->staleness().pushes, kRounds * replicas);
  EXPECT_EQ(store->staleness().max, 0);
  return Weights(*store);
}

class SameBitsAnyCluster : public ::testing::TestWithParam<int32_t> {};

TEST_P(SameBitsAnyCluster, ForAnyPartitionOrderAndRetries) {
  const Floats expected = TrainByOneWorker(GetParam());
  for (uint32_t seed = 0; seed < 40; ++seed) {
    ASSERT_TRUE(SameBits(TrainByAnyCluster(GetParam(), seed), expected)) << "seed " << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(Replicas, SameBitsAnyCluster, ::testing::Values(1, 2, 3, 4, 5, 6, 7, 8, 12),
                         ::testing::PrintToStringParamName());

TEST(ParameterStore, EveryMinibatchCountsOnceInEveryMode) {
  // Each minibatch adds a power of two of its own to the mean of its round, so that the fall of a weight
  // spells out which of them were applied.
  for (const int32_t group : {1, 2, 3, 6}) {
    for (uint32_t seed = 0; seed < 20; ++seed) {
      std::mt19937 random(seed);
      auto options = StoreOptions({.replicas = 6, .group = group, .staleness = 1});
      options.linear_lr_scaling = false;
      const auto store = MakeStore(options);
      const double start = Weights(*store)[0];
      std::vector<Clock> clocks(6, 0);
      while (*std::min_element(clocks.begin(), clocks.end()) < 3) {
        const auto replica = static_cast<ReplicaId>(random() % 6);
        const Clock clock = clocks[replica];
        if (clock == 3) continue;
        const Floats gradient(kLength, static_cast<float>(group << (replica + 6 * clock)));
        const auto pushed = Push(*store, {replica, replica}, clock, gradient);
        if (pushed.ok()) clocks[replica] += random() % 2;  // else it did not hear the answer, and sends again
      }
      for (ReplicaId replica = 0; replica < 6; ++replica) {
        const Floats gradient(kLength, static_cast<float>(group << (replica + 12)));
        EXPECT_EQ(*Push(*store, {replica, replica}, 2, gradient), Action::kAlreadyApplied);
      }
      EXPECT_NEAR(start - Weights(*store)[0], (1 << 18) - 1, 0.5) << "group " << group << ", seed " << seed;
    }
  }
}

}  // namespace
}  // namespace tessera
