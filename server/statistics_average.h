// The rule of batch-norm statistics: each round moves the running statistic a little towards the round's
// mean.
//   r += m' (x - r),  m' = 1 - (1-m)^(group/replicas)
// x: mean over the round of the replicas' batch mean or unbiased batch variance (as PyTorch), float32. m: the
// momentum of one update by all replicas; m' spreads it over the updates of smaller groups. No decay, no
// schedule: the store passes m' itself as the learning rate. State: none. Immutable; from any thread.
// Source: torch.nn.BatchNorm2d; DESIGN.md section 5. PyTorch writes (1-m) r + m x, which rounds otherwise.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/optimizer.h"

namespace tessera {

class StatisticsAverage : public Optimizer {
 public:
  // Errors: kInvalidArgument, `momentum` not in [0, 1].
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(double momentum, int32_t group, int32_t replicas);

  // m' as it is used; exactly `momentum` when group == replicas.
  double base_learning_rate() const override { return rate_; }
  std::vector<OptimizerSlot> slots() const override { return {}; }
  void Apply(const UpdateContext& context, absl::Span<const float> weights, absl::Span<const float> gradient,
             absl::Span<const absl::Span<float>> slots, absl::Span<float> new_weights) const override;

 private:
  explicit StatisticsAverage(double rate) : rate_(rate) {}
  const double rate_;
};

}  // namespace tessera
