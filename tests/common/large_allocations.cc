#include "tests/common/large_allocations.h"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

constexpr size_t kTensorBytes = 1024;  // what is smaller is no tensor worth a pool
std::atomic<int> large_allocations{0};

void* TryAllocate(size_t bytes) {
  if (bytes >= kTensorBytes) ++large_allocations;
  return std::malloc(bytes);
}

void* Allocate(size_t bytes) {
  if (void* const block = TryAllocate(bytes)) return block;
  throw std::bad_alloc();
}

}  // namespace

void* operator new(size_t bytes) { return Allocate(bytes); }
void* operator new[](size_t bytes) { return Allocate(bytes); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return TryAllocate(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return TryAllocate(bytes); }
void operator delete(void* block) noexcept { std::free(block); }
void operator delete[](void* block) noexcept { std::free(block); }
void operator delete(void* block, size_t) noexcept { std::free(block); }
void operator delete[](void* block, size_t) noexcept { std::free(block); }

namespace tessera {

int LargeAllocations() { return large_allocations; }

}  // namespace tessera
