// A loop on OpenMP's threads.
#pragma once

#include <omp.h>

#include <cstdint>

namespace tessera::cpu {

// Calls `work(n)` for every n from 0 to count-1, in any order. With one thread without OpenMP, which would
// take a team of one from the heap each time.
template <typename Work>
void ParallelFor(int64_t count, const Work& work) {
  if (omp_get_max_threads() == 1) {
    for (int64_t n = 0; n < count; ++n) work(n);
    return;
  }
#pragma omp parallel for
  for (int64_t n = 0; n < count; ++n) work(n);
}

}  // namespace tessera::cpu
