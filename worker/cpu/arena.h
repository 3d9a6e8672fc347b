// One piece of memory for all tensors of a plan. Buffers whose lifetimes do not overlap share addresses.
#pragma once

#include <cstddef>
#include <dnnl.hpp>
#include <memory>
#include <new>
#include <vector>

namespace tessera::cpu {

// Position in the plan: forward of node n of count is n, backward is 2*count-1-n.
using Time = int;

// First all buffers and their uses are told, then Allocate() places them. Not thread-safe.
class Arena {
 public:
  static constexpr size_t kAlignment = 64;  // a cache line, a vector register of AVX-512

  // A new buffer, in use at `time`. Returns its index.
  int Add(size_t bytes, Time time);

  // The contents of `buffer` must last from its first to its last use, both included.
  void Use(int buffer, Time time);

  // `memory` lies at the start of `buffer`.
  void Bind(int buffer, dnnl::memory memory);

  // Places all buffers, sets the addresses of all bound memories, and fills the whole with NaN, so that an
  // element which nobody wrote does not pass for a number. Call once.
  void Allocate();

  // Of the whole; 0 before Allocate().
  size_t bytes() const { return bytes_; }

 private:
  struct Buffer {
    size_t bytes;
    Time first, last;
    size_t offset = 0;
  };
  struct Deleter {
    void operator()(std::byte* data) const;
  };

  void Place();
  size_t LowestGap(const Buffer& buffer, const std::vector<const Buffer*>& placed_by_offset) const;

  std::vector<Buffer> buffers_;
  std::vector<std::pair<int, dnnl::memory>> bound_;
  std::unique_ptr<std::byte[], Deleter> data_;
  size_t bytes_ = 0;
};

}  // namespace tessera::cpu
