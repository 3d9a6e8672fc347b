// Pixel values to network inputs: (pixel / 255 - mean[c]) / std[c], per channel.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/data/dataset.h"

namespace tessera {

class Normalization {
 public:
  // Errors: kInvalidArgument, lengths differ or a std that is not positive.
  static absl::StatusOr<Normalization> Create(std::vector<double> mean, std::vector<double> std);
  // Mean and population standard deviation over every pixel of each channel. Sums are exact integers, so
  // every machine measures the same. A channel without variance gets std 1.
  static Normalization Measure(const Dataset& dataset);

  // Writes one image [C,H,W]. `pixels` and `out` are equally long, a multiple of the channels.
  void Apply(absl::Span<const uint8_t> pixels, absl::Span<float> out) const;

  const std::vector<double>& mean() const { return mean_; }
  const std::vector<double>& std() const { return std_; }

 private:
  Normalization(std::vector<double> mean, std::vector<double> std);
  std::vector<double> mean_, std_;
  std::vector<float> table_;  // [channel][256]
};

}  // namespace tessera
