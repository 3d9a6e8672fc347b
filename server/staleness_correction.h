// What a server does about gradients that were computed on weights older than those they change. For modes of
// several groups; in sync nothing is ever stale. Statistics shards are never corrected.
//   none:               lr x group/replicas (or lr, without linear scaling), gradient g as it came
//   scale:              lr / (1 + staleness) in place of the linear factor; staleness in versions, of a group
//                       the mean over the replicas present
//   delay_compensated:  g + lambda * g * g * (w - r) in place of g, elementwise; only with group 1
// w: the weights that the update changes; r: those that the gradient was computed on. Float32, in the order
// written, exactly rounded operations only. A gradient that is not stale is left as it is, to the last bit.
// Source: Zhang et al. 2016 (Staleness-aware async-SGD), which divides by the staleness of each gradient,
// counted from 1; Zheng et al. 2017 (DC-ASGD), the constant and the adaptive lambda (DC-ASGD-a), see below.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace tessera {

struct StalenessCorrection {
  enum class Kind { kNone, kScale, kDelayCompensated };

  Kind kind = Kind::kNone;
  // Of kDelayCompensated; 0 is the same as kNone. The paper's on CIFAR-10: 0.04 constant, 2 adaptive.
  double lambda = 0.04;
  // lambda / sqrt(mean_square + eps) for each element in place of lambda.
  bool adaptive = false;

  // Does it change any gradient?
  bool compensates() const { return kind == Kind::kDelayCompensated && lambda > 0; }
};

// "none", "scale" or "delay_compensated". Errors: kInvalidArgument.
absl::StatusOr<StalenessCorrection::Kind> ParseStalenessCorrection(absl::string_view name);

// Errors: kInvalidArgument, lambda negative or not finite; delay_compensated with a group of several.
absl::Status CheckStalenessCorrection(const StalenessCorrection& correction, int32_t group);

// The factor of lr under kScale: 1 / (1 + the mean of `staleness`); 1 for none. In double.
double StalenessScale(absl::Span<const int64_t> staleness);

// mean_square = m * mean_square + (1 - m) * g * g with m = 0.95: once for every applied gradient, before it
// is compensated. As in DC-ASGD-a: zero at the start, without bias correction. What the paper leaves open and
// we chose: one per shard, over the gradients of all replicas.
void UpdateMeanSquare(absl::Span<const float> gradient, absl::Span<float> mean_square);

// g += lambda * g * g * (w - r); with `mean_square` not empty lambda / sqrt(mean_square + 1e-7) in place of
// lambda. What comes out goes to whatever optimizer the job has; the paper's is plain SGD.
void CompensateDelay(float lambda, absl::Span<const float> weights, absl::Span<const float> read,
                     absl::Span<const float> mean_square, absl::Span<float> gradient);

}  // namespace tessera
