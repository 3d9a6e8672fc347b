// The words that every part of the system shares; DESIGN.md section 1 defines them.
#pragma once

#include <cstdint>
#include <string>

namespace tessera {

using ReplicaId = int32_t;  // index of a model replica, 0 .. train.replicas-1
using Clock =
    int64_t;  // minibatches that a replica has fully pushed; also names the minibatch being computed
using ShardId = int32_t;  // index into ShardLayout::shards()
using Version = int64_t;  // updates that a shard has had

// Replicas first..last, both included. Valid when 0 <= first <= last.
struct ReplicaRange {
  ReplicaId first = 0;
  ReplicaId last = 0;

  int32_t size() const { return last - first + 1; }
  bool Contains(const ReplicaRange& other) const { return first <= other.first && other.last <= last; }
  bool Overlaps(const ReplicaRange& other) const { return first <= other.last && other.first <= last; }
  friend bool operator==(const ReplicaRange&, const ReplicaRange&) = default;
};

// "3" or "2..5", for messages.
std::string ToString(const ReplicaRange& range);

}  // namespace tessera
