#include "server/version_buffers.h"

#include <algorithm>
#include <atomic>
#include <utility>

namespace tessera {
namespace {

constexpr size_t kFrameAlignment = 64;  // what a frame may take beyond its floats

// Shards of one block that are held and follow one another.
struct HeldRun {
  ShardId first = 0;
  ShardId last = 0;
};

std::vector<HeldRun> RunsOf(const ShardLayout& layout, absl::Span<const ShardId> held) {
  std::vector<ShardId> sorted(held.begin(), held.end());
  std::sort(sorted.begin(), sorted.end());
  std::vector<HeldRun> runs;
  for (const ShardId id : sorted) {
    const bool follows = !runs.empty() && id == runs.back().last + 1 &&
                         layout.shards()[id].block == layout.shards()[runs.back().last].block;
    if (follows) {
      runs.back().last = id;
    } else {
      runs.push_back({id, id});
    }
  }
  return runs;
}

size_t LengthOf(const ShardLayout& layout, const HeldRun& run) {
  const Shard& last = layout.shards()[run.last];
  return static_cast<size_t>(last.offset + last.length - layout.shards()[run.first].offset);
}

}  // namespace

struct VersionBuffers::Place {
  Place(std::shared_ptr<TensorBuffer> in, float* begin) : frame(std::move(in)), floats(begin) {}

  const std::shared_ptr<TensorBuffer> frame;
  float* const floats;  // in it
  std::atomic<bool> taken{false};
};

VersionBuffers::VersionBuffers(size_t length, std::shared_ptr<BufferPool> pool)
    : length_(length), pool_(std::move(pool)) {}

std::vector<VersionBuffers> VersionBuffers::Adjoining(const ShardLayout& layout,
                                                      absl::Span<const ShardId> held,
                                                      const std::shared_ptr<BufferPool>& pool) {
  std::vector<VersionBuffers> buffers;
  std::vector<size_t> index_of(layout.shards().size());
  for (const ShardId id : held) {
    index_of[id] = buffers.size();
    buffers.emplace_back(static_cast<size_t>(layout.shards()[id].length), pool);
  }
  const std::vector<HeldRun> runs = RunsOf(layout, held);
  for (size_t parity = 0; parity < 2; ++parity) {
    for (const HeldRun& run : runs) {
      const std::shared_ptr<TensorBuffer> frame = pool->Take(LengthOf(layout, run));
      const int64_t begin = layout.shards()[run.first].offset;
      for (ShardId id = run.first; id <= run.last; ++id) {
        buffers[index_of[id]].places_[parity] =
            std::make_shared<Place>(frame, frame->data() + (layout.shards()[id].offset - begin));
      }
    }
  }
  return buffers;
}

size_t VersionBuffers::FrameBytes(const ShardLayout& layout, absl::Span<const ShardId> held) {
  size_t bytes = 0;
  for (const HeldRun& run : RunsOf(layout, held))
    bytes += LengthOf(layout, run) * sizeof(float) + kFrameAlignment;
  return 2 * bytes;
}

std::shared_ptr<TensorBuffer> VersionBuffers::Take(Version version) const {
  const std::shared_ptr<Place>& place = places_[static_cast<size_t>(version) % 2];
  // The order: who read it last has done so before it is written anew.
  if (place == nullptr || place->taken.exchange(true, std::memory_order_acquire)) return pool_->Take(length_);
  return {new TensorBuffer(length_, place->floats, /*memory=*/nullptr), [place](TensorBuffer* version) {
            delete version;
            place->taken.store(false, std::memory_order_release);
          }};
}

}  // namespace tessera
