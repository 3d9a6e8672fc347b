// A data set of grey pixels whose labels go round, for tests that need its numbers and no pictures.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "worker/data/dataset.h"

namespace tessera {

class FakeDataset : public Dataset {
 public:
  FakeDataset(uint32_t size, Shape image_shape, int32_t classes)
      : size_(size),
        image_shape_(std::move(image_shape)),
        classes_(classes),
        pixels_(static_cast<size_t>(NumElements(image_shape_)), 128) {}

  uint32_t size() const override { return size_; }
  const Shape& image_shape() const override { return image_shape_; }
  int32_t classes() const override { return classes_; }
  absl::Span<const uint8_t> Pixels(uint32_t) const override { return pixels_; }
  int32_t Label(uint32_t index) const override { return static_cast<int32_t>(index) % classes_; }

 private:
  const uint32_t size_;
  const Shape image_shape_;
  const int32_t classes_;
  const std::vector<uint8_t> pixels_;
};

inline std::shared_ptr<const Dataset> MakeFakeDataset(uint32_t size, Shape image_shape = {1, 2, 2},
                                                      int32_t classes = 3) {
  return std::make_shared<FakeDataset>(size, std::move(image_shape), classes);
}

}  // namespace tessera
