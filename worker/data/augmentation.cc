#include "worker/data/augmentation.h"

#include "common/check.h"
#include "common/random.h"

namespace tessera {
namespace {

// Places in the sample's stream. Part of the promise of equal bits: never renumber.
constexpr uint64_t kDown = 0, kRight = 1, kFlip = 2;

}  // namespace

Augmentation::Augmentation(uint64_t seed, const AugmentationOptions& options)
    : seed_(seed), options_(options) {
  TESSERA_CHECK(options.crop_padding >= 0);
}

Augmentation::Change Augmentation::ChangeOf(int64_t epoch, uint32_t sample) const {
  const RandomStream stream(seed_, RandomPurpose::kAugmentation, static_cast<uint64_t>(epoch), sample);
  const int64_t padding = options_.crop_padding;
  const auto offset = [&](uint64_t place) {
    return static_cast<int64_t>(stream.Below(place, static_cast<uint64_t>(2 * padding + 1))) - padding;
  };
  return {offset(kDown), offset(kRight), options_.flip && stream.Below(kFlip, 2) == 1};
}

template <typename T>
void Augmentation::Apply(const Change& change, const Shape& shape, absl::Span<const T> image,
                         absl::Span<T> out) {
  const int64_t channels = shape[0], height = shape[1], width = shape[2];
  TESSERA_CHECK(image.size() == out.size() && static_cast<int64_t>(image.size()) == NumElements(shape));
  T* to = out.data();
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < height; ++i) {
      const int64_t row = i + change.down;
      const bool row_inside = 0 <= row && row < height;
      for (int64_t j = 0; j < width; ++j) {
        const int64_t column = (change.flip ? width - 1 - j : j) + change.right;
        const bool inside = row_inside && 0 <= column && column < width;
        *to++ = inside ? image[static_cast<size_t>((c * height + row) * width + column)] : T{0};
      }
    }
  }
}

template void Augmentation::Apply(const Change&, const Shape&, absl::Span<const uint8_t>,
                                  absl::Span<uint8_t>);
template void Augmentation::Apply(const Change&, const Shape&, absl::Span<const float>, absl::Span<float>);

}  // namespace tessera
