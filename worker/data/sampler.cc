#include "worker/data/sampler.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/random.h"

namespace tessera {

absl::StatusOr<Sampler> Sampler::Create(uint64_t seed, uint32_t samples, int32_t replicas,
                                        int32_t batch_size) {
  if (replicas < 1 || batch_size < 1 || int64_t{replicas} * batch_size > samples) {
    return absl::InvalidArgumentError(absl::StrCat("the data set has ", samples, " samples, ", replicas,
                                                   " replicas x batch_size ", batch_size, " need ",
                                                   int64_t{replicas} * batch_size, " for one step"));
  }
  Sampler sampler;
  sampler.seed_ = seed;
  sampler.samples_ = samples;
  sampler.replicas_ = replicas;
  sampler.batch_size_ = batch_size;
  return sampler;
}

Clock Sampler::steps_per_epoch() const { return samples_ / (int64_t{replicas_} * batch_size_); }

absl::Span<const uint32_t> Sampler::Minibatch(ReplicaId replica, Clock clock) {
  TESSERA_CHECK(replica >= 0 && replica < replicas_ && clock >= 0);
  const int64_t epoch = clock / steps_per_epoch();
  const int64_t step = clock % steps_per_epoch();
  if (epoch != epoch_) {
    order_ =
        Permutation(samples_, RandomStream(seed_, RandomPurpose::kSampleOrder, static_cast<uint64_t>(epoch)));
    epoch_ = epoch;
  }
  const int64_t start = (step * replicas_ + replica) * batch_size_;
  return absl::MakeConstSpan(order_).subspan(static_cast<size_t>(start), static_cast<size_t>(batch_size_));
}

}  // namespace tessera
