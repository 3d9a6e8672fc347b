#include "worker/data/normalization.h"

#include <cmath>
#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr int kLevels = 256;  // of a pixel
constexpr double kWhite = kLevels - 1;
// With more channels, a table of all levels would be longer than most images.
constexpr size_t kMaxTableChannels = 64;

struct Moments {
  double mean = 0;
  double std = 0;
};

// Of the pixels of one channel, exactly.
struct PixelSums {
  uint64_t count = 0;
  uint64_t sum = 0;
  uint64_t squares = 0;
};

// In units of [0, 1]. Only the last steps round: std = sqrt(n * sum(v^2) - sum(v)^2) / n.
Moments MomentsOf(const PixelSums& sums) {
  __extension__ using Wide = unsigned __int128;
  const Wide spread = static_cast<Wide>(sums.count) * sums.squares - static_cast<Wide>(sums.sum) * sums.sum;
  const double scale = kWhite * static_cast<double>(sums.count);
  return {static_cast<double>(sums.sum) / scale, std::sqrt(static_cast<double>(spread)) / scale};
}

// Calls visit(channel, values of the channel) for every sample in order. T is what the input holds.
template <typename T, typename Visit>
void ForEachPlane(const Dataset& dataset, size_t input, size_t channels, const Visit& visit) {
  for (uint32_t sample = 0; sample < dataset.size(); ++sample) {
    const auto values = std::get<absl::Span<const T>>(dataset.Values(sample, input));
    const size_t plane = values.size() / channels;
    for (size_t c = 0; c < channels; ++c) visit(c, values.subspan(c * plane, plane));
  }
}

std::vector<Moments> MeasurePixels(const Dataset& dataset, size_t input, size_t channels) {
  std::vector<PixelSums> sums(channels);
  ForEachPlane<uint8_t>(dataset, input, channels, [&](size_t c, absl::Span<const uint8_t> pixels) {
    PixelSums& sum = sums[c];
    sum.count += pixels.size();
    for (const uint64_t pixel : pixels) {
      sum.sum += pixel;
      sum.squares += pixel * pixel;
    }
  });
  std::vector<Moments> moments;
  for (const PixelSums& sum : sums) moments.push_back(MomentsOf(sum));
  return moments;
}

// In two passes: the mean, then the squared distances from it.
std::vector<Moments> MeasureNumbers(const Dataset& dataset, size_t input, size_t channels) {
  std::vector<Moments> moments(channels);
  std::vector<double> counts(channels, 0);
  ForEachPlane<float>(dataset, input, channels, [&](size_t c, absl::Span<const float> numbers) {
    counts[c] += static_cast<double>(numbers.size());
    for (const float number : numbers) moments[c].mean += number;
  });
  for (size_t c = 0; c < channels; ++c) moments[c].mean /= counts[c];
  ForEachPlane<float>(dataset, input, channels, [&](size_t c, absl::Span<const float> numbers) {
    for (const float number : numbers) {
      const double distance = number - moments[c].mean;
      moments[c].std += distance * distance;
    }
  });
  for (size_t c = 0; c < channels; ++c) moments[c].std = std::sqrt(moments[c].std / counts[c]);
  return moments;
}

}  // namespace

absl::StatusOr<InputNormalization> InputNormalization::Create(std::vector<double> mean,
                                                              std::vector<double> std) {
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
  return InputNormalization(std::move(mean), std::move(std));
}

InputNormalization InputNormalization::Measure(const Dataset& dataset, size_t input) {
  TESSERA_CHECK(dataset.size() > 0);
  const auto channels = static_cast<size_t>(dataset.inputs()[input].shape[0]);
  const bool pixels = std::holds_alternative<absl::Span<const uint8_t>>(dataset.Values(0, input));
  std::vector<double> mean;
  std::vector<double> std;
  for (const Moments& moments :
       pixels ? MeasurePixels(dataset, input, channels) : MeasureNumbers(dataset, input, channels)) {
    mean.push_back(moments.mean);
    std.push_back(moments.std > 0 ? moments.std : 1);
  }
  return {std::move(mean), std::move(std)};
}

InputNormalization::InputNormalization(std::vector<double> mean, std::vector<double> std)
    : mean_(std::move(mean)), std_(std::move(std)) {
  if (mean_.size() > kMaxTableChannels) return;
  std::vector<float> table;
  for (size_t channel = 0; channel < mean_.size(); ++channel) {
    for (int level = 0; level < kLevels; ++level) table.push_back(OfPixel(channel, level));
  }
  table_ = std::move(table);
}

float InputNormalization::OfPixel(size_t channel, int pixel) const {
  return static_cast<float>((pixel / kWhite - mean_[channel]) / std_[channel]);
}

void InputNormalization::Apply(const InputValues& values, absl::Span<float> out) const {
  std::visit([&](const auto& span) { ApplyTo(span, out); }, values);
}

void InputNormalization::ApplyTo(absl::Span<const uint8_t> pixels, absl::Span<float> out) const {
  TESSERA_CHECK(pixels.size() == out.size() && pixels.size() % mean_.size() == 0);
  const size_t plane = pixels.size() / mean_.size();
  for (size_t channel = 0; channel < mean_.size(); ++channel) {
    const size_t begin = channel * plane, end = begin + plane;
    if (table_.empty()) {
      for (size_t i = begin; i < end; ++i) out[i] = OfPixel(channel, pixels[i]);
      continue;
    }
    const float* values = &table_[channel * kLevels];
    for (size_t i = begin; i < end; ++i) out[i] = values[pixels[i]];
  }
}

void InputNormalization::ApplyTo(absl::Span<const float> numbers, absl::Span<float> out) const {
  TESSERA_CHECK(numbers.size() == out.size() && numbers.size() % mean_.size() == 0);
  const size_t plane = numbers.size() / mean_.size();
  for (size_t channel = 0; channel < mean_.size(); ++channel) {
    for (size_t i = channel * plane; i < (channel + 1) * plane; ++i) {
      out[i] = static_cast<float>((numbers[i] - mean_[channel]) / std_[channel]);
    }
  }
}

Normalization::Normalization(std::vector<InputNormalization> inputs) : inputs_(std::move(inputs)) {}

absl::StatusOr<Normalization> Normalization::Create(std::vector<double> mean, std::vector<double> std) {
  TESSERA_ASSIGN_OR_RETURN(InputNormalization input,
                           InputNormalization::Create(std::move(mean), std::move(std)));
  return Normalization({std::move(input)});
}

absl::StatusOr<Normalization> Normalization::Measure(const Dataset& dataset) {
  TESSERA_RETURN_IF_ERROR(dataset.Load());
  std::vector<InputNormalization> inputs;
  for (size_t input = 0; input < dataset.inputs().size(); ++input) {
    inputs.push_back(InputNormalization::Measure(dataset, input));
  }
  return Normalization(std::move(inputs));
}

}  // namespace tessera
