#include "worker/cpu/arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "common/check.h"

namespace tessera::cpu {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t bytes, size_t unit) { return (bytes + unit - 1) / unit * unit; }

}  // namespace

void Arena::Deleter::operator()(std::byte* data) const {
  ::operator delete[](data, std::align_val_t{kHugePage});
}

int Arena::Add(size_t bytes, Time time) {
  buffers_.push_back({RoundUp(std::max<size_t>(bytes, 1), kAlignment), time, time});
  return static_cast<int>(buffers_.size()) - 1;
}

void Arena::Use(int buffer, Time time) {
  buffers_[buffer].first = std::min(buffers_[buffer].first, time);
  buffers_[buffer].last = std::max(buffers_[buffer].last, time);
}

void Arena::Bind(int buffer, dnnl::memory memory) { bound_.emplace_back(buffer, std::move(memory)); }

void Arena::Allocate() {
  TESSERA_CHECK(data_ == nullptr);
  Place();
  bytes_ = RoundUp(std::max<size_t>(bytes_, 1), kAlignment);
  data_.reset(new (std::align_val_t{kHugePage}) std::byte[bytes_]);
  // Large pages spare the walks through dozens of megabytes their TLB misses; only advice, so it may fail.
  madvise(data_.get(), bytes_, MADV_HUGEPAGE);
  auto* floats = reinterpret_cast<float*>(data_.get());
  std::fill_n(floats, bytes_ / sizeof(float), std::numeric_limits<float>::quiet_NaN());
  for (auto& [buffer, memory] : bound_) memory.set_data_handle(data_.get() + buffers_[buffer].offset);
}

// Largest first, each in the lowest gap between those that live at the same time.
void Arena::Place() {
  std::vector<size_t> order(buffers_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [this](size_t a, size_t b) { return buffers_[a].bytes > buffers_[b].bytes; });
  std::vector<const Buffer*> placed;
  for (size_t index : order) {
    Buffer& buffer = buffers_[index];
    buffer.offset = LowestGap(buffer, placed);
    bytes_ = std::max(bytes_, buffer.offset + buffer.bytes);
    const auto after =
        std::upper_bound(placed.begin(), placed.end(), &buffer,
                         [](const Buffer* a, const Buffer* b) { return a->offset < b->offset; });
    placed.insert(after, &buffer);
  }
}

size_t Arena::LowestGap(const Buffer& buffer, const std::vector<const Buffer*>& placed_by_offset) const {
  size_t offset = 0;
  for (const Buffer* other : placed_by_offset) {
    if (other->last < buffer.first || buffer.last < other->first) continue;
    if (offset + buffer.bytes <= other->offset) break;
    offset = std::max(offset, other->offset + other->bytes);
  }
  return offset;
}

}  // namespace tessera::cpu
