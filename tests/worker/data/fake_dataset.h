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
      : inputs_({{nn::kImageName, std::move(shape)}}), pixels_(std::move(pixels)), classes_(classes) {}

  uint32_t size() const override { return static_cast<uint32_t>(pixels_.size() / Length()); }
  const std::vector<nn::InputSpec>& inputs() const override { return inputs_; }
  int32_t classes() const override { return classes_; }
  InputValues Values(uint32_t index, size_t /*input*/) const override {
    return absl::MakeConstSpan(pixels_).subspan(index * Length(), Length());
  }
  int32_t Label(uint32_t index) const override { return static_cast<int32_t>(index) % classes_; }

 private:
  size_t Length() const { return static_cast<size_t>(NumElements(inputs_[0].shape)); }
  const std::vector<nn::InputSpec> inputs_;
  const std::vector<uint8_t> pixels_;
  const int32_t classes_;
};

// A row `row` [2] of numbers and an image `height` [2,1,2] of pixels; labels as above.
class TwoInputDataset : public Dataset {
 public:
  TwoInputDataset(std::vector<float> rows, std::vector<uint8_t> pixels, int32_t classes = 10)
      : rows_(std::move(rows)), pixels_(std::move(pixels)), classes_(classes) {}

  uint32_t size() const override { return static_cast<uint32_t>(rows_.size() / 2); }
  const std::vector<nn::InputSpec>& inputs() const override { return inputs_; }
  int32_t classes() const override { return classes_; }
  InputValues Values(uint32_t index, size_t input) const override {
    if (input == 0) return absl::MakeConstSpan(rows_).subspan(index * 2, 2);
    return absl::MakeConstSpan(pixels_).subspan(index * 4, 4);
  }
  int32_t Label(uint32_t index) const override { return static_cast<int32_t>(index) % classes_; }

 private:
  const std::vector<nn::InputSpec> inputs_ = {{"row", {2}}, {"height", {2, 1, 2}}};
  const std::vector<float> rows_;
  const std::vector<uint8_t> pixels_;
  const int32_t classes_;
};

}  // namespace tessera
