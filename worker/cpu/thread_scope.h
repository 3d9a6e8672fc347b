// OpenMP's number of threads belongs to the calling thread: sets it for a scope, on whatever thread that
// runs.
#pragma once

#include <omp.h>

namespace tessera::cpu {

class ThreadScope {
 public:
  explicit ThreadScope(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~ThreadScope() { omp_set_num_threads(before_); }
  ThreadScope(const ThreadScope&) = delete;
  ThreadScope& operator=(const ThreadScope&) = delete;

 private:
  const int before_;
};

}  // namespace tessera::cpu
