// Random changes of training images that leave their class: a crop out of the image with a border of zeros,
// and a flip from left to right. What happens to a sample in an epoch is a pure function of (seed, epoch,
// sample), whoever computes it. All images [C,H,W] of a sample are changed alike, rows [F] not at all. The
// border is put around the stored pixels, before normalisation, as torchvision's RandomCrop(size, padding)
// and RandomHorizontalFlip do.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "common/shape.h"

namespace tessera {

struct AugmentationOptions {
  bool flip = false;         // with probability 1/2
  int64_t crop_padding = 0;  // width of the border; the crop is as large as the image
};

// Immutable; thread-safe.
class Augmentation {
 public:
  // `options.crop_padding` is 0 or more.
  Augmentation(uint64_t seed, const AugmentationOptions& options);

  struct Change {
    int64_t down = 0, right = 0;  // where the crop starts in the image: -crop_padding .. crop_padding
    bool flip = false;            // of the crop
  };
  // The draws of crop and flip do not depend on each other: either may be turned on alone.
  Change ChangeOf(int64_t epoch, uint32_t sample) const;

  // out[c,i,j] = image[c, i + down, j' + right] with j' = flip ? W-1-j : j; zero outside the image. `shape`
  // is [C,H,W].
  template <typename T>
  static void Apply(const Change& change, const Shape& shape, absl::Span<const T> image, absl::Span<T> out);

 private:
  const uint64_t seed_;
  const AugmentationOptions options_;
};

}  // namespace tessera
