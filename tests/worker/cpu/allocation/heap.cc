#include "tests/worker/cpu/allocation/heap.h"

#include <dlfcn.h>
#include <dnnl.h>

#include <atomic>
#include <cerrno>

extern "C" {
void* __libc_malloc(size_t size);
void* __libc_calloc(size_t count, size_t size);
void* __libc_realloc(void* data, size_t size);
void* __libc_memalign(size_t alignment, size_t size);
}

namespace tessera::heap {
namespace {

std::atomic<bool> watched = false;
std::atomic<int64_t> ours = 0, library = 0;
std::atomic<size_t> largest = 0;
// Whether oneDNN executes, on whatever threads.
std::atomic<bool> executing = false;

void Count(size_t size) {
  if (!watched.load(std::memory_order_relaxed)) return;
  ++(executing ? library : ours);
  size_t before = largest.load();
  while (before < size && !largest.compare_exchange_weak(before, size)) {
  }
}

}  // namespace

Watch::Watch() {
  ours = library = 0;
  largest = 0;
  watched = true;
}

Watch::~Watch() { watched = false; }

Counts Watch::Stop() {
  watched = false;
  return {ours, library, largest};
}

}  // namespace tessera::heap

using tessera::heap::Count;
using tessera::heap::executing;

extern "C" {

void* malloc(size_t size) {
  Count(size);
  return __libc_malloc(size);
}

void* calloc(size_t count, size_t size) {
  Count(count * size);
  return __libc_calloc(count, size);
}

void* realloc(void* data, size_t size) {
  Count(size);
  return __libc_realloc(data, size);
}

void* memalign(size_t alignment, size_t size) {
  Count(size);
  return __libc_memalign(alignment, size);
}

void* aligned_alloc(size_t alignment, size_t size) {
  Count(size);
  return __libc_memalign(alignment, size);
}

int posix_memalign(void** data, size_t alignment, size_t size) {
  Count(size);
  *data = __libc_memalign(alignment, size);
  return *data == nullptr ? ENOMEM : 0;
}

dnnl_status_t dnnl_primitive_execute(const_dnnl_primitive_t primitive, dnnl_stream_t stream, int count,
                                     const dnnl_exec_arg_t* arguments) {
  static const auto execute =
      reinterpret_cast<decltype(&dnnl_primitive_execute)>(dlsym(RTLD_NEXT, "dnnl_primitive_execute"));
  executing = true;
  const dnnl_status_t status = execute(primitive, stream, count, arguments);
  executing = false;
  return status;
}

}  // extern "C"
