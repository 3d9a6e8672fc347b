// Which checkpoints are under way: parts that servers report, until every shard is there; checkpoints out of
// turn, and the clock at which they are taken. A pure state machine: time is passed in, files are others'.
// Not thread-safe; the coordinator calls it under its lock.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/types.h"
#include "proto/journal.pb.h"

namespace tessera {

// Every shard has been saved at `clock`; it lacks the manifest.
struct WholeCheckpoint {
  Clock clock = 0;
  std::vector<wire::CheckpointFile> files;
};

struct CheckpointTrackerOptions {
  size_t shards = 1;
  Clock total_steps = 1;
  absl::Duration every = absl::ZeroDuration();  // of time; zero: not by time
};

class CheckpointTracker {
 public:
  static constexpr size_t kMostUnderWay = 16;  // beyond it the oldest is let go
  static constexpr int kMostTries = 8;         // for a clock that no server has passed

  explicit CheckpointTracker(const CheckpointTrackerOptions& options) : options_(options) {}

  // A server that is or was the primary of `held`, ascending, has written `file` at `clock`, with any of
  // those shards. Returns whether that is news. Once all shards are there, each in one file, the checkpoint
  // is whole: after a takeover a part may have what another one has, which it then takes the place of, or
  // adds nothing to. Errors: kInvalidArgument, `clock` is outside the job, `file` has no plain name, no
  // SHA-256, no shards or another than `held`; kAborted, no whole can be made of it and the parts that are
  // there.
  absl::StatusOr<bool> AddPart(Clock clock, const wire::CheckpointFile& file, absl::Span<const ShardId> held);

  // A server could not write its part: `clock` has no checkpoint. True: that is news, and nobody tries again;
  // false: it was known, or a later clock takes its place, `lead` (>= 2) or more beyond `largest`, the
  // largest clock that is known.
  bool AddFailure(Clock clock, Clock largest, Clock lead);

  // Asks for a checkpoint out of turn, at a clock `lead` beyond `largest`; the one that is asked for already
  // stands. Returns its clock. Errors: kFailedPrecondition, the job ends before that.
  absl::StatusOr<Clock> Request(Clock largest, Clock lead);
  // For servers to be told of; 0: none.
  Clock requested_clock() const { return requested_clock_; }
  // Shards were taken over: if somebody had passed the clock that was asked for, the heirs may have, without
  // saving theirs; so it is asked for again, `lead` beyond `largest`.
  void OnTakeover(Clock largest, Clock lead);
  // As Request, if it is time to.
  void RequestIfDue(absl::Time now, Clock largest, Clock lead);

  // Takes the next one that is whole; the caller writes its manifest.
  std::optional<WholeCheckpoint> TakeWhole();
  bool has_whole() const { return !whole_.empty(); }
  // The job went back to `clock`: what is under way is forgotten, what was asked for comes later.
  void Rewind(Clock clock, Clock lead);

  // For the journal. Those that are whole or not, without the failed ones.
  std::map<Clock, std::vector<wire::CheckpointFile>> UnderWay() const { return under_way_; }
  void SetUnderWay(Clock clock, std::vector<wire::CheckpointFile> files);
  // Its manifest is written, or never will be.
  void Forget(Clock clock) { under_way_.erase(clock); }

 private:
  bool IsWhole(const std::vector<wire::CheckpointFile>& files) const;
  void MarkIfWhole(Clock clock);

  const CheckpointTrackerOptions options_;
  std::map<Clock, std::vector<wire::CheckpointFile>> under_way_;
  std::vector<Clock> whole_;  // not taken yet
  std::set<Clock> failed_;    // of late
  std::set<Clock> finished_;  // of late
  Clock requested_clock_ = 0;
  int tries_ = 0;
  absl::Time last_ = absl::InfinitePast();  // checkpoint of time
};

}  // namespace tessera
