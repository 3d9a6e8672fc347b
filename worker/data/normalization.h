// Stored values to network inputs: (v - mean[c]) / std[c], per channel of [C,H,W] or per feature of [F]. v is
// pixel / 255, or a number as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/data/dataset.h"

namespace tessera {

// Of one input. Immutable.
class InputNormalization {
 public:
  // Errors: kInvalidArgument, lengths differ or a std that is not positive.
  static absl::StatusOr<InputNormalization> Create(std::vector<double> mean, std::vector<double> std);
  // Mean and population standard deviation over every value of each channel (of pixels: in units of [0, 1]).
  // Sums of pixels are exact integers, sums of numbers are doubles in the order of the samples, so that every
  // machine measures the same. A channel without variance gets std 1. `dataset` is loaded.
  static InputNormalization Measure(const Dataset& dataset, size_t input);

  // Writes one sample. `values` and `out` are equally long, a multiple of the channels.
  void Apply(const InputValues& values, absl::Span<float> out) const;

  const std::vector<double>& mean() const { return mean_; }
  const std::vector<double>& std() const { return std_; }

 private:
  InputNormalization(std::vector<double> mean, std::vector<double> std);
  void ApplyTo(absl::Span<const uint8_t> pixels, absl::Span<float> out) const;
  void ApplyTo(absl::Span<const float> numbers, absl::Span<float> out) const;
  float OfPixel(size_t channel, int pixel) const;

  std::vector<double> mean_, std_;
  std::vector<float> table_;  // [channel][256], of pixels; empty for many channels
};

// Of all inputs of a data set. Immutable.
class Normalization {
 public:
  // Given, of the one input. Errors: as InputNormalization.
  static absl::StatusOr<Normalization> Create(std::vector<double> mean, std::vector<double> std);
  // Loads `dataset`. Errors: those of Load.
  static absl::StatusOr<Normalization> Measure(const Dataset& dataset);

  const std::vector<InputNormalization>& inputs() const { return inputs_; }

 private:
  explicit Normalization(std::vector<InputNormalization> inputs);
  std::vector<InputNormalization> inputs_;
};

}  // namespace tessera
