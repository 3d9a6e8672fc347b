// The store that a job asks for, as a server of the cluster makes it.
#include "server/store_factory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/server/test_shards.h"

namespace tessera {
namespace {

constexpr int64_t kLength = 8;

JobSpec Job(const std::string& mode, int32_t replicas = 4) {
  JobSpec job;
  job.train.replicas = replicas;
  job.train.optimizer = {.name = "sgd", .options = {{"lr", "1"}}};
  job.train.consistency.mode = mode;
  return job;
}

std::unique_ptr<ParameterStore> Store(const JobSpec& job, const std::vector<ReplicaRange>& units = {}) {
  auto store = MakeStore(job, TestLayout(kLength, 1 << 10), /*steps_per_epoch=*/10, units, {0, 1});
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

std::string Push(ParameterStore& store, ReplicaRange replicas, Clock clock, float value = 1) {
  const auto action = store.Push({0, replicas, clock, 0}, Bytes(Floats(kLength, value)));
  return action.ok() ? std::string(ToString(*action)) : absl::StatusCodeToString(action.status().code());
}

// Memory that counts what is taken, as much as it is asked for and no more.
class CountedMemory : public TensorMemory {
 public:
  explicit CountedMemory(size_t bytes) : room_(bytes) {}
  float* Allocate(size_t length) override {
    if (length * sizeof(float) > room_ - used_) {
      ++refused_;
      return nullptr;
    }
    used_ += length * sizeof(float);
    most_ = std::max(most_, used_);
    return static_cast<float*>(std::aligned_alloc(64, (length * sizeof(float) + 63) / 64 * 64));
  }
  void Free(float* floats, size_t length) override {
    used_ -= length * sizeof(float);
    std::free(floats);
  }
  size_t used() const { return used_; }
  size_t most() const { return most_; }
  int refused() const { return refused_; }

 private:
  const size_t room_;
  size_t used_ = 0;
  size_t most_ = 0;
  int refused_ = 0;
};

float FirstWeight(const ParameterStore& store) { return store.Latest(0)->weights->data()[0]; }

TEST(MakeStore, AModesOwnGroupIsAllReplicasInSyncAndOneElsewhere) {
  EXPECT_EQ(Push(*Store(Job("sync")), {0, 3}, 0), "apply");
  EXPECT_EQ(Push(*Store(Job("sync")), {0, 1}, 0), "hold");
  EXPECT_EQ(Push(*Store(Job("async")), {1, 1}, 0), "apply");
  EXPECT_EQ(Push(*Store(Job("ssp")), {1, 1}, 0), "apply");
}

TEST(MakeStore, AsyncHasNoBoundAndSspItsOwn) {
  JobSpec ssp = Job("ssp");
  ssp.train.consistency.staleness = 1;
  const auto bounded = Store(ssp);
  const auto unbounded = Store(Job("async"));
  for (Clock clock = 0; clock < 5; ++clock) {
    EXPECT_EQ(Push(*unbounded, {0, 0}, clock), "apply");
    EXPECT_EQ(Push(*bounded, {0, 0}, clock) == "apply", clock <= 1) << clock;
  }
}

TEST(MakeStore, TheJobsGroupIsTaken) {
  JobSpec job = Job("grouped");
  job.train.consistency.group = 2;
  job.train.consistency.staleness = ConsistencySpec::kUnbounded;
  const auto store = Store(job);
  EXPECT_EQ(Push(*store, {2, 3}, 0), "apply");
  EXPECT_EQ(Push(*store, {2, 3}, 1), "apply");
  EXPECT_EQ(Push(*store, {1, 1}, 0), "hold");
}

TEST(MakeStore, StragglersAreDroppedByTheUnitsOfTheWorkers) {
  JobSpec job = Job("sync");
  job.train.consistency.drop_stragglers = 2;
  EXPECT_EQ(Push(*Store(job, {{0, 1}, {2, 3}}), {0, 1}, 0), "apply");
  const auto store = Store(job, {{0, 1}, {2, 3}});
  EXPECT_EQ(Push(*store, {0, 0}, 0), "hold");
  EXPECT_EQ(Push(*store, {2, 3}, 0), "hold");
  EXPECT_EQ(Push(*store, {1, 1}, 0), "apply");
}

TEST(MakeStore, LearningRateScalesAsTheJobSays) {
  for (const std::string scaling : {"linear", "none"}) {
    JobSpec job = Job("async");
    job.train.consistency.lr_scaling = scaling;
    const auto store = Store(job);
    const float before = FirstWeight(*store);
    Push(*store, {0, 0}, 0, 4);
    EXPECT_EQ(FirstWeight(*store), before - (scaling == "linear" ? 1.0F : 4.0F));
  }
}

TEST(MakeStore, StalenessIsCorrectedAsTheJobSays) {
  JobSpec job = Job("async");
  job.train.consistency.staleness_correction = "scale";
  const auto store = Store(job);
  Push(*store, {1, 1}, 0, 4);
  const float before = FirstWeight(*store);
  Push(*store, {0, 0}, 0, 4);  // one version old
  EXPECT_EQ(FirstWeight(*store), before - 2);

  job.train.consistency.staleness_correction = "delay_compensated";
  job.train.consistency.lr_scaling = "none";
  job.train.consistency.dc_lambda = 0.5;
  const auto compensated = Store(job);
  compensated->Read(0, 0, 0, [](absl::StatusOr<ShardVersion>) {});
  const float read = FirstWeight(*compensated);
  Push(*compensated, {1, 1}, 0, 4);
  const float now = FirstWeight(*compensated);
  Push(*compensated, {0, 0}, 0, 2);
  EXPECT_EQ(FirstWeight(*compensated), now - (2 + 0.5F * 2 * 2 * (now - read)));
}

TEST(MakeStore, ParametersOfOneDimensionAreExemptFromDecayIfTheJobSaysSo) {
  for (const std::string decay_all : {"true", "false"}) {
    JobSpec job = Job("sync", 1);
    job.train.optimizer.options = {{"lr", "1"}, {"weight_decay", "0.5"}, {"decay_bias_and_norm", decay_all}};
    const auto store = Store(job);  // its only parameter, fc.weight, has one dimension
    const float before = FirstWeight(*store);
    Push(*store, {0, 0}, 0, 0);
    EXPECT_EQ(FirstWeight(*store), decay_all == "true" ? before * 0.5F : before);
  }
}

TEST(MakeStore, AllVersionsLieInTheMemoryThatIsGivenForThem) {
  const ShardLayout layout = TestLayout(kLength, 1 << 10);
  const auto model = static_cast<size_t>(layout.total_bytes());
  for (const char* mode : {"sync", "async"}) {
    std::shared_ptr<CountedMemory> memory;
    auto store = MakeStore(Job(mode), layout, 10, {}, {0, 1}, {},
                           [&](size_t bytes) { return memory = std::make_shared<CountedMemory>(bytes); });
    ASSERT_TRUE(store.ok()) << store.status();
    const bool sync = std::string(mode) == "sync";
    EXPECT_EQ(memory->used(), sync ? 2 * model : model) << "the first version, and the place of the second";
    for (Clock clock = 0; clock < 5; ++clock) {
      for (ReplicaId replica = 0; replica < 4; ++replica) Push(**store, {replica, replica}, clock);
    }
    EXPECT_EQ((*store)->Latest(0)->version, sync ? 5 : 20);
    if (sync) {
      EXPECT_EQ(memory->most(), 2 * model);
    } else {
      EXPECT_GT(memory->most(), model);
    }
    EXPECT_EQ(memory->refused(), 0) << "it was asked for enough";
    store->reset();
    EXPECT_EQ(memory->used(), 0u);
  }
}

TEST(MakeStore, WithoutMemoryForThemVersionsLieOnTheHeap) {
  auto store = MakeStore(Job("sync"), TestLayout(kLength, 1 << 10), 10, {}, {0, 1}, {},
                         [](size_t) { return nullptr; });
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(Push(**store, {0, 3}, 0), "apply");
}

TEST(MakeStore, RefusesWhatNoStoreCanDo) {
  JobSpec grouped = Job("grouped");
  grouped.train.consistency.group = 2;
  grouped.train.consistency.staleness_correction = "delay_compensated";
  JobSpec unknown = Job("async");
  unknown.train.consistency.staleness_correction = "wishful";
  JobSpec uneven = Job("grouped");
  uneven.train.consistency.group = 3;
  for (const JobSpec& job : {grouped, unknown, uneven}) {
    EXPECT_EQ(MakeStore(job, TestLayout(kLength, 1 << 10), 10, {}, {0}).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace tessera
