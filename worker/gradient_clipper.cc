#include "worker/gradient_clipper.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tessera {
namespace {

constexpr double kEpsilon = 1e-6;

void Scale(absl::Span<float> values, float factor) {
  for (float& value : values) value *= factor;
}

}  // namespace

double SumOfSquares(absl::Span<const float> values) {
  // Independent sums, so that the additions need not wait for each other; which element goes where is fixed.
  constexpr size_t kSums = 8;
  double sums[kSums] = {};
  size_t i = 0;
  for (; i + kSums <= values.size(); i += kSums) {
    for (size_t lane = 0; lane < kSums; ++lane) {
      const double value = values[i + lane];
      sums[lane] += value * value;
    }
  }
  double total = 0;
  for (; i < values.size(); ++i) total += static_cast<double>(values[i]) * values[i];
  for (const double sum : sums) total += sum;
  return total;
}

std::vector<BlockGradient> GradientClipper::Add(BlockGradient gradient) {
  held_.push_back(std::move(gradient));
  if (static_cast<int>(held_.size()) < blocks_) return {};
  // By block, so that the norm does not depend on the order in which an executor finishes them.
  std::vector<double> squares(held_.size());
  std::vector<size_t> order(held_.size());
  for (size_t i = 0; i < held_.size(); ++i) {
    squares[i] = SumOfSquares(held_[i].gradient->span());
    order[i] = i;
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return held_[a].block < held_[b].block; });
  double total = 0;
  for (const size_t i : order) total += squares[i];
  const double factor = max_norm_ / (std::sqrt(total) + kEpsilon);
  if (factor < 1) {
    for (const BlockGradient& held : held_) Scale(held.gradient->span(), static_cast<float>(factor));
  }
  return std::exchange(held_, {});
}

}  // namespace tessera
