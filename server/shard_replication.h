// What the primary of a shard tells its backups of it: each update, and a copy of all for who is to become
// one. Plain data. docs/adr/0011-replication.md.
#pragma once

#include <cstdint>
#include <vector>

#include "common/checkpoint/shard_snapshot.h"
#include "common/tensor_bytes.h"
#include "common/types.h"

namespace tessera {

using NodeId = int32_t;  // by which the shard map names a server

// Where a shard is: two that were made under the same mark hold the same bits. (The same version may have
// been made twice: by a primary that died before anybody else had it, and by its heir.)
struct ShardMark {
  Version version = -1;  // -1: the shard is not held
  int64_t term = 0;      // under which the update to it was applied; 0: none was since the rewind began
  friend bool operator==(const ShardMark&, const ShardMark&) = default;
};

// One update.
struct ShardForward {
  ShardId shard = 0;
  ShardMark made;     // what it brings the shard to
  int32_t group = 0;  // whose round it was, of `clock`,
  Clock clock = 0;
  std::vector<ReplicaRange> covered;  // with these replicas
  double learning_rate = 0;           // that the optimizer got,
  TensorBytes gradient;               // with this: the mean, corrected
};

// All of a shard between two updates. Its weights may be the shard's own, by reference.
struct ShardCopy {
  ShardSnapshot snapshot;
  int64_t term = 0;       // of its mark
  SharedTensor previous;  // the weights of the version before; null where they are not kept
  ShardMark mark() const { return {snapshot.version, term}; }
};

// Takes what the primaries of a store tell. Thread-safe.
class ForwardSink {
 public:
  virtual ~ForwardSink() = default;
  // Called under the shard's lock: of one shard in order of version. Must not block, nor call the store.
  virtual void Add(ShardForward forward) = 0;
  // Called after that without locks: what was added for `shard` may leave.
  virtual void Flush(ShardId shard) = 0;
};

}  // namespace tessera
