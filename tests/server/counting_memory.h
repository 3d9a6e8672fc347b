// Memory for versions that counts what is out, and has a limit.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/mutex.h"
#include "common/tensor_buffer.h"

namespace tessera {

// Thread-safe. Gives no address twice.
class CountingMemory : public TensorMemory {
 public:
  explicit CountingMemory(size_t most_bytes = SIZE_MAX) : most_bytes_(most_bytes) {}

  float* Allocate(size_t length) override {
    if (bytes + length * sizeof(float) > most_bytes_) {
      ++refused;
      return nullptr;
    }
    bytes += length * sizeof(float);
    MutexLock lock(&mutex_);
    buffers_.push_back(std::make_unique<TensorBuffer>(length));
    return buffers_.back()->data();
  }
  void Free(float*, size_t length) override { bytes -= length * sizeof(float); }

  std::atomic<size_t> bytes{0};
  std::atomic<int> refused{0};

 private:
  const size_t most_bytes_;
  Mutex mutex_;
  std::vector<std::unique_ptr<TensorBuffer>> buffers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
