// A data set of grey pixels whose labels go round, for tests that need its numbers and no pictures.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "worker/data/dataset.h"

namespace tessera {

class FakeDataset : public Dataset {
 public:
  FakeDataset(uint32_t size, Shape image_shape, int32_t classes)
      : size_(size),
        inputs_({{nn::kImageName, std::move(image_shape)}}),
        classes_(classes),
        pixels_(static_cast<size_t>(NumElements(inputs_[0].shape)), 128) {}

  uint32_t size() const override { return size_; }
  const std::vector<nn::InputSpec>& inputs() const override { return inputs_; }
  int32_t classes() const override { return classes_; }
  InputValues Values(uint32_t, size_t) const override { return absl::MakeConstSpan(pixels_); }
  int32_t Label(uint32_t index) const override { return static_cast<int32_t>(index) % classes_; }

 private:
  const uint32_t size_;
  const std::vector<nn::InputSpec> inputs_;
  const int32_t classes_;
  const std::vector<uint8_t> pixels_;
};

// Samples of several inputs, all zero, under names for the classes.
class FakeInputs : public Dataset {
 public:
  FakeInputs(uint32_t size, std::vector<nn::InputSpec> inputs,
             std::vector<std::string> class_names = {"a", "b", "c"})
      : size_(size), inputs_(std::move(inputs)), class_names_(std::move(class_names)) {
    for (const nn::InputSpec& input : inputs_)
      zeros_.emplace_back(static_cast<size_t>(NumElements(input.shape)));
  }

  uint32_t size() const override { return size_; }
  const std::vector<nn::InputSpec>& inputs() const override { return inputs_; }
  int32_t classes() const override { return static_cast<int32_t>(class_names_.size()); }
  std::vector<std::string> class_names() const override { return class_names_; }
  InputValues Values(uint32_t, size_t input) const override { return absl::MakeConstSpan(zeros_[input]); }
  int32_t Label(uint32_t index) const override { return static_cast<int32_t>(index) % classes(); }

 private:
  const uint32_t size_;
  const std::vector<nn::InputSpec> inputs_;
  const std::vector<std::string> class_names_;
  std::vector<std::vector<float>> zeros_;
};

inline std::shared_ptr<const Dataset> MakeFakeDataset(uint32_t size, Shape image_shape = {1, 2, 2},
                                                      int32_t classes = 3) {
  return std::make_shared<FakeDataset>(size, std::move(image_shape), classes);
}

}  // namespace tessera
