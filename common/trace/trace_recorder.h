// What one process did when: spans of layers, messages and updates, kept in memory until they are written
// (process_trace.h). Time is CLOCK_MONOTONIC, which all processes of a machine share. Nothing is global: who
// records has been given a track.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/mutex.h"
#include "common/shard_layout.h"
#include "common/types.h"

namespace tessera {

// docs/tracing.md says what each is measured from and to.
enum class TraceKind : uint8_t {
  kStep,      // a minibatch of a replica
  kEvaluate,  // this worker's share of the test set
  kLoad,      // a minibatch is gathered
  kBatch,     // the step waits for its minibatch
  kWait,      // a layer waits for its weights
  kForward,
  kBackward,
  kPush,     // a layer's gradient is checked, summed with other replicas' and queued
  kQueue,    // a message waits to be sent; such spans overlap each other on their track
  kEncode,   // a message becomes bytes
  kReceive,  // bytes become a message
  kInstall,  // weights are copied into place, or taken where they lie
  kReduce,   // a gradient is added to its round
  kApply,    // a complete round becomes a version
};
const char* KindName(TraceKind kind);

// What a span is about; what does not apply stays as it is.
struct TraceArgs {
  int32_t layer = -1;  // a name of TraceRecorder::Name; -1: the shard's, if there is one
  ShardId shard = -1;
  ReplicaRange replicas{-1, -1};
  Clock clock = -1;
  int64_t bytes = -1;
  const char* message = nullptr;  // "push" or "weights"; a literal
};

struct TraceEvent {
  TraceKind kind = TraceKind::kStep;
  int32_t track = 0;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  TraceArgs args;
};

// Nanoseconds of CLOCK_MONOTONIC.
int64_t TraceNow();

class TraceRecorder;

// A row of the trace, in which spans nest: of one thread, or of what happens one at a time. Null: nothing is
// recorded. A value; the recorder outlives it.
struct TraceTrack {
  TraceRecorder* recorder = nullptr;
  int32_t id = 0;
  explicit operator bool() const { return recorder != nullptr; }
};

// Thread-safe.
class TraceRecorder {
 public:
  // Some thousand steps of a small network; as JSON about 50 MB.
  static constexpr size_t kMaxEvents = 250'000;

  // The first `max_events` are kept; later ones are counted.
  explicit TraceRecorder(size_t max_events = kMaxEvents) : max_events_(max_events) {}
  TraceRecorder(const TraceRecorder&) = delete;
  TraceRecorder& operator=(const TraceRecorder&) = delete;

  TraceTrack AddTrack(std::string name);
  void RenameTrack(TraceTrack track, std::string name);
  // A number for the name of a layer, for TraceArgs; the same for the same name.
  int32_t Name(absl::string_view layer);
  // Names the layers of shards.
  void NameShards(const ShardLayout& layout);

  void Record(const TraceEvent& event);

  // All of it so far; names are empty where none was given.
  struct Contents {
    std::vector<TraceEvent> events;
    std::vector<std::string> tracks;  // by TraceTrack::id
    std::vector<std::string> layers;  // by TraceArgs::layer
    std::vector<std::string> shards;  // the layer of each shard
    int64_t dropped = 0;              // events that came after the last place was taken
  };
  Contents contents() const;

 private:
  static constexpr size_t kChunk = 4096;  // events that are allocated at once

  const size_t max_events_;
  mutable Mutex mutex_;  // taken last; held for a copy of one event
  std::vector<std::unique_ptr<TraceEvent[]>> chunks_ ABSL_GUARDED_BY(mutex_);
  size_t size_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t dropped_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> tracks_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> layers_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> shards_ ABSL_GUARDED_BY(mutex_);
};

// Records the time from here to the end of its block. On a null track it costs a branch.
class TraceSpan {
 public:
  TraceSpan(TraceTrack track, TraceKind kind, const TraceArgs& args = {}) : track_(track) {
    if (!track_) return;
    event_ = {kind, track.id, TraceNow(), 0, args};
  }
  ~TraceSpan() {
    if (!track_) return;
    event_.end_ns = TraceNow();
    track_.recorder->Record(event_);
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  const TraceTrack track_;
  TraceEvent event_;
};

}  // namespace tessera
