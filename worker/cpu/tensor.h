// A tensor of a plan: a oneDNN memory, whose address may come later, and the buffer that it lies in.
#pragma once

#include <dnnl.hpp>

namespace tessera::cpu {

// Copies refer to the same memory. `memory` has no address before the plan's arena is allocated; that of
// inputs, parameters and parameter gradients is set anew in every step.
struct Tensor {
  static constexpr int kExternal = -1;    // belongs to the caller of the step
  static constexpr int kFirstInput = -2;  // kFirstInput - k: input k of the batch

  dnnl::memory memory;
  int buffer = kExternal;  // of the arena, or one of the above

  dnnl::memory::desc layout() const { return memory.get_desc(); }
};

}  // namespace tessera::cpu
