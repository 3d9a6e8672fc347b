// All that one shard is at one version: what a checkpoint holds of it, and what a shard can be made of again.
// Plain data; nothing in it changes afterwards.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "common/tensor_buffer.h"
#include "common/types.h"

namespace tessera {

// What the consistency policy of a shard remembers between rounds. What is held of open rounds is no part of
// it: who pushed that sends it again.
struct PolicySnapshot {
  std::vector<Clock> group_clocks;    // by group: rounds applied
  std::vector<Clock> replica_clocks;  // by replica: the clock after its last push that counted
  std::vector<int64_t> applied;       // by replica: its minibatches that counted
  int64_t dropped = 0;                // minibatches of single replicas without which rounds were closed
  friend bool operator==(const PolicySnapshot&, const PolicySnapshot&) = default;
};

struct ShardSnapshot {
  struct Slot {
    std::string name;  // the optimizer's name of it; "mean_square" of adaptive delay compensation
    SharedTensor values;
  };

  ShardId shard = 0;
  Version version = 0;
  int64_t applied_pushes = 0;  // minibatches of single replicas, for the schedules' progress
  PolicySnapshot policy;
  SharedTensor weights;     // float32, the shard's length, as all slots
  std::vector<Slot> slots;  // in the updater's order
};

// A tensor for a snapshot: these values in memory of their own, on the heap.
inline SharedTensor CopyOf(absl::Span<const float> values) {
  auto copy = std::make_shared<TensorBuffer>(values.size());
  std::copy(values.begin(), values.end(), copy->data());
  return copy;
}

}  // namespace tessera
