#include "server/statistics_average.h"

#include "absl/strings/str_cat.h"
#include "common/exact_math.h"

namespace tessera {

absl::StatusOr<std::unique_ptr<Optimizer>> StatisticsAverage::Create(double momentum, int32_t group,
                                                                     int32_t replicas) {
  if (!(momentum >= 0 && momentum <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("momentum of batch-norm statistics is ", momentum, ", not from 0 to 1"));
  }
  if (group == replicas) return std::unique_ptr<Optimizer>(new StatisticsAverage(momentum));
  const double part = static_cast<double>(group) / replicas;
  return std::unique_ptr<Optimizer>(new StatisticsAverage(1 - ExactPower(1 - momentum, part)));
}

void StatisticsAverage::Apply(const UpdateContext& context, absl::Span<const float> weights,
                              absl::Span<const float> gradient, absl::Span<const absl::Span<float>>,
                              absl::Span<float> new_weights) const {
  const float rate = static_cast<float>(context.learning_rate);
  const float* __restrict r = weights.data();
  const float* __restrict x = gradient.data();
  float* __restrict out = new_weights.data();
  const size_t length = new_weights.size();
  for (size_t i = 0; i < length; ++i) out[i] = r[i] + rate * (x[i] - r[i]);
}

}  // namespace tessera
