// A data set from memory, for tests: labels count 0, 1, 2, ... modulo `classes`.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "worker/data/dataset.h"

namespace tessera {

class FakeDataset : public Dataset {
 public:
  // `pixels`: all images, one after another.
  FakeDataset(Shape shape, std::vector<uint8_t> pixels, int32_t classes = 10)
      : shape_(std::move(shape)), pixels_(std::move(pixels)), classes_(classes) {}

  uint32_t size() const override { return static_cast<uint32_t>(pixels_.size() / Length()); }
  const Shape& image_shape() const override { return shape_; }
  int32_t classes() const override { return classes_; }
  absl::Span<const uint8_t> Pixels(uint32_t index) const override {
    return absl::MakeConstSpan(pixels_).subspan(index * Length(), Length());
  }
  int32_t Label(uint32_t index) const override { return static_cast<int32_t>(index) % classes_; }

 private:
  size_t Length() const { return static_cast<size_t>(NumElements(shape_)); }
  const Shape shape_;
  const std::vector<uint8_t> pixels_;
  const int32_t classes_;
};

}  // namespace tessera
