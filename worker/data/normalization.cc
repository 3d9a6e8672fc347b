#include "worker/data/normalization.h"

#include <array>
#include <cmath>
#include <cstdint>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace tessera {
namespace {

constexpr int kLevels = 256;  // of a pixel
constexpr double kWhite = kLevels - 1;

using Histogram = std::array<uint64_t, kLevels>;

std::vector<Histogram> CountPixels(const Dataset& dataset) {
  const auto channels = static_cast<size_t>(dataset.image_shape()[0]);
  std::vector<Histogram> counts(channels, Histogram{});
  for (uint32_t image = 0; image < dataset.size(); ++image) {
    const absl::Span<const uint8_t> pixels = dataset.Pixels(image);
    const size_t plane = pixels.size() / channels;
    for (size_t i = 0; i < pixels.size(); ++i) ++counts[i / plane][pixels[i]];
  }
  return counts;
}

struct Moments {
  double mean = 0;
  double std = 0;
};

// In units of [0, 1]. All sums are integers; only the last steps round: std = sqrt(n * sum(v^2) - sum(v)^2) /
// n.
Moments MomentsOf(const Histogram& counts) {
  __extension__ using Wide = unsigned __int128;
  uint64_t pixels = 0;
  uint64_t sum = 0;
  uint64_t squares = 0;
  for (uint64_t level = 0; level < kLevels; ++level) {
    pixels += counts[level];
    sum += counts[level] * level;
    squares += counts[level] * level * level;
  }
  const Wide spread = static_cast<Wide>(pixels) * squares - static_cast<Wide>(sum) * sum;
  const double scale = kWhite * static_cast<double>(pixels);
  return {static_cast<double>(sum) / scale, std::sqrt(static_cast<double>(spread)) / scale};
}

}  // namespace

absl::StatusOr<Normalization> Normalization::Create(std::vector<double> mean, std::vector<double> std) {
  if (mean.size() != std.size() || mean.empty()) {
    return absl::InvalidArgumentError(absl::StrCat("normalization has ", mean.size(), " means and ",
                                                   std.size(),
                                                   " standard deviations: one of each per channel"));
  }
  for (size_t channel = 0; channel < mean.size(); ++channel) {
    if (!std::isfinite(mean[channel]) || !std::isfinite(std[channel]) || std[channel] <= 0) {
      return absl::InvalidArgumentError(absl::StrCat("normalization of channel ", channel, ": mean ",
                                                     mean[channel], ", std ", std[channel],
                                                     "; both must be finite and std above 0"));
    }
  }
  return Normalization(std::move(mean), std::move(std));
}

Normalization Normalization::Measure(const Dataset& dataset) {
  std::vector<double> mean;
  std::vector<double> std;
  for (const Histogram& counts : CountPixels(dataset)) {
    const Moments moments = MomentsOf(counts);
    mean.push_back(moments.mean);
    std.push_back(moments.std > 0 ? moments.std : 1);
  }
  return {std::move(mean), std::move(std)};
}

Normalization::Normalization(std::vector<double> mean, std::vector<double> std)
    : mean_(std::move(mean)), std_(std::move(std)) {
  for (size_t channel = 0; channel < mean_.size(); ++channel) {
    for (int level = 0; level < kLevels; ++level) {
      table_.push_back(static_cast<float>((level / kWhite - mean_[channel]) / std_[channel]));
    }
  }
}

void Normalization::Apply(absl::Span<const uint8_t> pixels, absl::Span<float> out) const {
  TESSERA_CHECK(pixels.size() == out.size() && pixels.size() % mean_.size() == 0);
  const size_t plane = pixels.size() / mean_.size();
  for (size_t channel = 0; channel < mean_.size(); ++channel) {
    const float* values = &table_[channel * kLevels];
    for (size_t i = channel * plane; i < (channel + 1) * plane; ++i) out[i] = values[pixels[i]];
  }
}

}  // namespace tessera
