#include "common/tensor_buffer.h"

#include <cstdint>
#include <unordered_map>
#include <utility>

namespace tessera {
namespace {

constexpr size_t kAlignment = 64;

// Room for the floats wherever in it the first aligned address lies. Not aligned operator new: glibc's (2.36)
// asks for more than it keeps, so that a freed block is too small for the next of its size, and memory grows.
size_t BlockBytes(size_t length) { return length * sizeof(float) + kAlignment; }

float* Aligned(std::byte* block) {
  const auto address = reinterpret_cast<uintptr_t>(block);
  return reinterpret_cast<float*>((address + kAlignment - 1) / kAlignment * kAlignment);
}

}  // namespace

TensorBuffer::TensorBuffer(size_t length)
    : length_(length), block_(new std::byte[BlockBytes(length)]), data_(Aligned(block_.get())) {}

TensorBuffer::TensorBuffer(size_t length, float* floats, std::shared_ptr<TensorMemory> memory)
    : length_(length), memory_(std::move(memory)), data_(floats) {}

TensorBuffer::~TensorBuffer() {
  if (memory_ != nullptr) memory_->Free(data_, length_);
}

// Owned by the pool and, weakly, by every buffer that is out.
struct BufferPool::State {
  explicit State(size_t limit) : max_idle_bytes(limit) {}

  std::unique_ptr<TensorBuffer> TakeIdle(size_t length) {
    MutexLock lock(&mutex);
    const auto found = idle.find(length);
    if (found == idle.end() || found->second.empty()) return nullptr;
    std::unique_ptr<TensorBuffer> buffer = std::move(found->second.back());
    found->second.pop_back();
    idle_bytes -= buffer->size() * sizeof(float);
    return buffer;
  }

  // A buffer that does not fit is left with the caller, who frees it outside the lock.
  void PutBack(std::unique_ptr<TensorBuffer>& buffer) {
    const size_t bytes = buffer->size() * sizeof(float);
    MutexLock lock(&mutex);
    if (bytes > max_idle_bytes - idle_bytes) return;
    idle[buffer->size()].push_back(std::move(buffer));
    idle_bytes += bytes;
  }

  const size_t max_idle_bytes;
  mutable Mutex
      mutex;  // held for list operations only, never while memory is allocated or freed for a tensor
  std::unordered_map<size_t, std::vector<std::unique_ptr<TensorBuffer>>> idle ABSL_GUARDED_BY(mutex);
  size_t idle_bytes ABSL_GUARDED_BY(mutex) = 0;
};

BufferPool::BufferPool(size_t max_idle_bytes, std::shared_ptr<TensorMemory> memory)
    : memory_(std::move(memory)), state_(std::make_shared<State>(max_idle_bytes)) {}

std::shared_ptr<TensorBuffer> BufferPool::Take(size_t length) {
  if (memory_ != nullptr) {
    if (float* const floats = memory_->Allocate(length)) {
      return std::make_shared<TensorBuffer>(length, floats, memory_);
    }
  }
  std::unique_ptr<TensorBuffer> buffer = state_->TakeIdle(length);
  if (buffer == nullptr) buffer = std::make_unique<TensorBuffer>(length);
  return {buffer.release(), [home = std::weak_ptr<State>(state_)](TensorBuffer* returned) {
            std::unique_ptr<TensorBuffer> owned(returned);
            if (const std::shared_ptr<State> state = home.lock()) state->PutBack(owned);
          }};
}

size_t BufferPool::idle_bytes() const {
  MutexLock lock(&state_->mutex);
  return state_->idle_bytes;
}

}  // namespace tessera
