#include "server/staleness_correction.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

// The paper's m and epsilon.
constexpr float kMeanSquareDecay = 0.95F;
constexpr float kEpsilon = 1e-7F;

}  // namespace

absl::StatusOr<StalenessCorrection::Kind> ParseStalenessCorrection(absl::string_view name) {
  if (name == "none") return StalenessCorrection::Kind::kNone;
  if (name == "scale") return StalenessCorrection::Kind::kScale;
  if (name == "delay_compensated") return StalenessCorrection::Kind::kDelayCompensated;
  return absl::InvalidArgumentError(
      absl::StrCat("staleness correction `", name, "` is none of: none, scale, delay_compensated"));
}

absl::Status CheckStalenessCorrection(const StalenessCorrection& correction, int32_t group) {
  if (correction.kind != StalenessCorrection::Kind::kDelayCompensated) return absl::OkStatus();
  if (!std::isfinite(correction.lambda) || correction.lambda < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("delay compensation: lambda is ", correction.lambda, ", not finite and at least 0"));
  }
  if (group != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("delay compensation works on gradients of single replicas, not of groups of ", group));
  }
  return absl::OkStatus();
}

double StalenessScale(absl::Span<const int64_t> staleness) {
  if (staleness.empty()) return 1;
  int64_t sum = 0;
  for (const int64_t one : staleness) sum += one;
  return 1 / (1 + static_cast<double>(sum) / static_cast<double>(staleness.size()));
}

void UpdateMeanSquare(absl::Span<const float> gradient, absl::Span<float> mean_square) {
  const float* __restrict g = gradient.data();
  float* __restrict mean = mean_square.data();
  const size_t length = mean_square.size();
  for (size_t i = 0; i < length; ++i) {
    mean[i] = kMeanSquareDecay * mean[i] + (1 - kMeanSquareDecay) * g[i] * g[i];
  }
}

void CompensateDelay(float lambda, absl::Span<const float> weights, absl::Span<const float> read,
                     absl::Span<const float> mean_square, absl::Span<float> gradient) {
  const float* __restrict w = weights.data();
  const float* __restrict r = read.data();
  const float* __restrict mean = mean_square.data();
  float* __restrict g = gradient.data();
  const size_t length = gradient.size();
  if (mean_square.empty()) {
    for (size_t i = 0; i < length; ++i) g[i] += lambda * g[i] * g[i] * (w[i] - r[i]);
    return;
  }
  for (size_t i = 0; i < length; ++i) {
    const float adapted = lambda / std::sqrt(mean[i] + kEpsilon);
    g[i] += adapted * g[i] * g[i] * (w[i] - r[i]);
  }
}

}  // namespace tessera
