// Writes a server's parts of checkpoints, in a thread of its own: collects the snapshots of one clock until
// all held shards are there, writes them as one file (common/checkpoint/checkpoint_part.h), and reports it.
// For one timeline (rewind) and one set of shards: a server that adopts another makes a new writer.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_part.h"
#include "common/checkpoint/shard_snapshot.h"
#include "common/mutex.h"
#include "common/shard_layout.h"
#include "common/types.h"

namespace tessera {

struct CheckpointWriterOptions {
  std::string dir;  // the job's checkpoints; a clock's folder in it is made when its part is written
  int32_t server_index = 0;
  std::string incarnation;
  ShardLayout layout;
  std::vector<ShardId> shards;  // held here; at least one
  int32_t groups = 1;           // of replicas: a shard at clock c has had c * groups updates
};

// Thread-safe.
class CheckpointWriter {
 public:
  // Called from the writer's thread: the part of a clock, or why there is none (those of WriteCheckpointPart;
  // kAborted, newer checkpoints overtook it before it was whole). May take its time; no snapshot waits for
  // it.
  using Report = std::function<void(Clock, absl::StatusOr<CheckpointFileInfo>)>;

  // At most so many clocks are collected or written at a time; the next one drops the oldest.
  static constexpr size_t kMaxUnfinished = 2;

  CheckpointWriter(CheckpointWriterOptions options, Report report);
  // Waits for the file that is being written, and its report; drops what is unfinished besides.
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  // Never blocks for a file. A shard that is not held here, that is there already at this clock, or whose
  // clock is not after all that were written or dropped, is ignored.
  void Add(ShardSnapshot snapshot);

 private:
  using Cut = std::map<ShardId, ShardSnapshot>;

  void Run();
  bool IsWhole(const Cut& cut) const { return cut.size() == options_.shards.size(); }
  void DropOldestLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWholeCutLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The oldest; older ones that are not whole are dropped.
  std::pair<Clock, Cut> TakeWholeCutLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<CheckpointFileInfo> Write(Clock clock, Cut cut) const;

  const CheckpointWriterOptions options_;
  const Report report_;
  Mutex mutex_;
  CondVar changed_;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  Clock done_ ABSL_GUARDED_BY(mutex_) = 0;  // every clock up to it was written or dropped
  std::map<Clock, Cut> cuts_ ABSL_GUARDED_BY(mutex_);
  std::deque<Clock> dropped_ ABSL_GUARDED_BY(mutex_);  // still to be reported
  std::thread thread_;                                 // last: it uses all of the above
};

}  // namespace tessera
