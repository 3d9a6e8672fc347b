// Counts the program's heap allocations. heap.cc replaces malloc and its kin (so operator new too) and
// dnnl_primitive_execute for the whole program, shared libraries included; glibc only.
#pragma once

#include <cstddef>
#include <cstdint>

namespace tessera::heap {

struct Counts {
  int64_t ours = 0;     // allocations while oneDNN executes nothing, on any thread
  int64_t library = 0;  // while it does
  size_t largest = 0;   // bytes of the largest, of both
};

// Counts from construction to Stop(). One at a time.
class Watch {
 public:
  Watch();
  ~Watch();
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  // Ends the counting; since the start.
  Counts Stop();
};

}  // namespace tessera::heap
