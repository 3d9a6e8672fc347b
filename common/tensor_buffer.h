// Float buffers that are written once and then shared, and the pool that recycles them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/mutex.h"

namespace tessera {

// Memory for floats from elsewhere than the heap. Thread-safe.
class TensorMemory {
 public:
  virtual ~TensorMemory() = default;
  // Room for `length` floats, 64-byte aligned, contents undefined; null when there is none left.
  virtual float* Allocate(size_t length) = 0;
  // Gives back what Allocate(length) gave.
  virtual void Free(float* floats, size_t length) = 0;
};

// A block of float32 of fixed length, 64-byte aligned but where it is a part of another's memory; contents
// start undefined. Not thread-safe while written.
class TensorBuffer {
 public:
  // On the heap.
  explicit TensorBuffer(size_t length);
  // In `memory`, which gave `floats` for it and gets them back; null: they stay whoever's they are.
  TensorBuffer(size_t length, float* floats, std::shared_ptr<TensorMemory> memory);
  ~TensorBuffer();
  TensorBuffer(const TensorBuffer&) = delete;
  TensorBuffer& operator=(const TensorBuffer&) = delete;

  size_t size() const { return length_; }
  float* data() { return data_; }
  const float* data() const { return data_; }
  absl::Span<float> span() { return {data_, length_}; }
  absl::Span<const float> span() const { return {data_, length_}; }

 private:
  const size_t length_;
  const std::unique_ptr<std::byte[]> block_;  // contains the floats; null if they are elsewhere
  const std::shared_ptr<TensorMemory> memory_;
  float* const data_;
};

using SharedTensor = std::shared_ptr<const TensorBuffer>;

// Recycles buffers by length, so that big blocks do not go back to the kernel. Thread-safe. A buffer returns
// to the pool when its last reference goes, also after the pool itself is gone (it is then freed).
class BufferPool {
 public:
  // Takes buffers from `memory` while it has room, and from the heap when it has none or is null. Keeps at
  // most `max_idle_bytes` of unused buffers of the heap; what comes back above that is freed.
  explicit BufferPool(size_t max_idle_bytes, std::shared_ptr<TensorMemory> memory = nullptr);

  // A buffer of `length` floats with undefined contents.
  std::shared_ptr<TensorBuffer> Take(size_t length);

  size_t idle_bytes() const;

 private:
  struct State;
  const std::shared_ptr<TensorMemory> memory_;
  const std::shared_ptr<State> state_;
};

}  // namespace tessera
