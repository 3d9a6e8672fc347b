// Float buffers that are written once and then shared, and the pool that recycles them.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "absl/types/span.h"
#include "common/mutex.h"

namespace tessera {

// A block of float32, 64-byte aligned, of fixed length; contents start undefined.
// Not thread-safe while written.
class TensorBuffer {
 public:
  explicit TensorBuffer(size_t length);
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
  const std::unique_ptr<std::byte[]> block_;  // contains the floats
  float* const data_;
};

using SharedTensor = std::shared_ptr<const TensorBuffer>;

// Recycles buffers by length, so that big blocks do not go back to the kernel. Thread-safe. A buffer returns
// to the pool when its last reference goes, also after the pool itself is gone (it is then freed).
class BufferPool {
 public:
  // Keeps at most `max_idle_bytes` of unused buffers; what comes back above that is freed.
  explicit BufferPool(size_t max_idle_bytes);

  // A buffer of `length` floats with undefined contents.
  std::shared_ptr<TensorBuffer> Take(size_t length);

  size_t idle_bytes() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace tessera
