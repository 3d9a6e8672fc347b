// Which samples make minibatch `clock` of a replica: a pure function of (seed, epoch), so that any worker
// that takes a replica over computes the very same gradient.
// An epoch is floor(samples / (replicas x batch_size)) minibatches for each replica; step s of an epoch takes
// the slice of replicas x batch_size samples that starts at s x replicas x batch_size, cut by replica index.
// The order is Permutation(samples, stream (seed, kSampleOrder, epoch)).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/types.h"

namespace tessera {

class Sampler {
 public:
  // Errors: kInvalidArgument, fewer samples than one minibatch for each replica, or a count below 1.
  static absl::StatusOr<Sampler> Create(uint64_t seed, uint32_t samples, int32_t replicas,
                                        int32_t batch_size);

  Clock steps_per_epoch() const;
  // Sample indices of the minibatch, batch_size long; valid until the next call. Keeps one epoch's
  // permutation. `replica` is one of the job's, clock >= 0.
  absl::Span<const uint32_t> Minibatch(ReplicaId replica, Clock clock);

 private:
  Sampler() = default;
  uint64_t seed_ = 0;
  uint32_t samples_ = 0;
  int32_t replicas_ = 1;
  int32_t batch_size_ = 1;
  int64_t epoch_ = -1;
  std::vector<uint32_t> order_;
};

}  // namespace tessera
