// Small stores, and what a replica does to them, for the tests of the server core.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "server/parameter_store.h"
#include "tests/server/test_shards.h"

namespace tessera {

inline constexpr int64_t kLength = 24;
inline constexpr ShardId kWeights = 0;  // "fc [0,24)"
inline constexpr ShardId kStatistics = 1;

inline ParameterStoreOptions StoreOptions(const ConsistencyOptions& consistency,
                                          const std::string& optimizer = "sgd",
                                          Options rule = {{"lr", "1"}}) {
  ParameterStoreOptions options;
  options.seed = 11;
  options.consistency = consistency;
  options.optimizer = OptimizerRegistry::Create("optimizer", optimizer, std::move(rule)).value();
  options.schedule = CreateSchedule("constant", {}, {.total_steps = 100, .steps_per_epoch = 10}).value();
  return options;
}

inline std::unique_ptr<ParameterStore> MakeStore(ParameterStoreOptions options, int64_t length = kLength) {
  ShardLayout layout = TestLayout(length, 1 << 20);
  auto store = ParameterStore::Create(std::move(options), std::move(layout), {kWeights, kStatistics});
  EXPECT_TRUE(store.ok()) << store.status();
  return *std::move(store);
}

inline std::unique_ptr<ParameterStore> SyncStore(int32_t replicas) {
  return MakeStore(StoreOptions({.replicas = replicas, .group = replicas}));
}

inline Floats Weights(const ParameterStore& store, ShardId shard = kWeights) {
  return Values(*store.Latest(shard)->weights);
}

inline absl::StatusOr<ConsistencyPolicy::Action> Push(ParameterStore& store, ReplicaRange replicas,
                                                      Clock clock, const Floats& gradient, Version base = 0) {
  return store.Push({kWeights, replicas, clock, base}, Bytes(gradient));
}

// What one Read got, and how often.
struct Reader {
  int answers = 0;
  absl::StatusOr<ShardVersion> answer;
  ParameterStore::ReadCallback Callback() {
    return [this](absl::StatusOr<ShardVersion> read) {
      ++answers;
      answer = std::move(read);
    };
  }
};

inline absl::StatusOr<ShardVersion> ReadNow(ParameterStore& store, ShardId shard, ReplicaId replica,
                                            Clock clock) {
  Reader reader;
  store.Read(shard, replica, clock, reader.Callback());
  EXPECT_EQ(reader.answers, 1);
  return reader.answer;
}

}  // namespace tessera
