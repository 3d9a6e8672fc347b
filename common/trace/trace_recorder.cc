#include "common/trace/trace_recorder.h"

#include <time.h>

#include <algorithm>
#include <utility>

namespace tessera {

const char* KindName(TraceKind kind) {
  switch (kind) {
    case TraceKind::kStep:
      return "step";
    case TraceKind::kEvaluate:
      return "evaluate";
    case TraceKind::kLoad:
      return "load";
    case TraceKind::kBatch:
      return "batch";
    case TraceKind::kWait:
      return "wait";
    case TraceKind::kForward:
      return "forward";
    case TraceKind::kBackward:
      return "backward";
    case TraceKind::kPush:
      return "push";
    case TraceKind::kQueue:
      return "queue";
    case TraceKind::kEncode:
      return "encode";
    case TraceKind::kReceive:
      return "receive";
    case TraceKind::kInstall:
      return "install";
    case TraceKind::kReduce:
      return "reduce";
    case TraceKind::kApply:
      return "apply";
  }
  return "";
}

int64_t TraceNow() {
  timespec now = {};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

TraceTrack TraceRecorder::AddTrack(std::string name) {
  MutexLock lock(&mutex_);
  tracks_.push_back(std::move(name));
  return {this, static_cast<int32_t>(tracks_.size()) - 1};
}

void TraceRecorder::RenameTrack(TraceTrack track, std::string name) {
  MutexLock lock(&mutex_);
  tracks_[static_cast<size_t>(track.id)] = std::move(name);
}

int32_t TraceRecorder::Name(absl::string_view layer) {
  MutexLock lock(&mutex_);
  const auto found = std::find(layers_.begin(), layers_.end(), layer);
  if (found != layers_.end()) return static_cast<int32_t>(found - layers_.begin());
  layers_.emplace_back(layer);
  return static_cast<int32_t>(layers_.size()) - 1;
}

void TraceRecorder::NameShards(const ShardLayout& layout) {
  MutexLock lock(&mutex_);
  shards_.clear();
  for (const Shard& shard : layout.shards()) {
    shards_.push_back(layout.blocks()[static_cast<size_t>(shard.block)].layer);
  }
}

void TraceRecorder::Record(const TraceEvent& event) {
  MutexLock lock(&mutex_);
  if (size_ == max_events_) {
    ++dropped_;
    return;
  }
  if (size_ == chunks_.size() * kChunk) chunks_.push_back(std::make_unique<TraceEvent[]>(kChunk));
  chunks_[size_ / kChunk][size_ % kChunk] = event;
  ++size_;
}

TraceRecorder::Contents TraceRecorder::contents() const {
  MutexLock lock(&mutex_);
  Contents contents{{}, tracks_, layers_, shards_, dropped_};
  contents.events.reserve(size_);
  for (size_t i = 0; i < size_; ++i) contents.events.push_back(chunks_[i / kChunk][i % kChunk]);
  return contents;
}

}  // namespace tessera
