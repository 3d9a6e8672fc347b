// Gathers samples of a data set into a normalised minibatch. Not thread-safe; owns the batch's memory. A copy shares the data
// set and has memory of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/data/augmentation.h"
#include "worker/data/dataset.h"
#include "worker/data/normalization.h"
#include "worker/nn/executor.h"

namespace tessera {

class BatchLoader {
 public:
  // Loads `dataset`. `augmentation` is for what is trained on.
  // Errors: kInvalidArgument, `normalization` is not of as many inputs and channels as the samples; those of
  // Load.
  static absl::StatusOr<BatchLoader> Create(std::shared_ptr<const Dataset> dataset,
                                            Normalization normalization,
                                            std::optional<Augmentation> augmentation = std::nullopt);

  // The batch of `indices`, in their order, as the samples are; valid until the next call.
  nn::Batch Load(absl::Span<const uint32_t> indices);
  // The same with the augmentation of `epoch`, where there is one.
  nn::Batch LoadForTraining(absl::Span<const uint32_t> indices, int64_t epoch);

 private:
  BatchLoader(std::shared_ptr<const Dataset> dataset, Normalization normalization,
              std::optional<Augmentation> augmentation);

  // Gathers with the change that `change_of(sample)` gives; null: none.
  template <typename ChangeOf>
  nn::Batch Gather(absl::Span<const uint32_t> indices, const ChangeOf& change_of);
  void GatherSample(uint32_t index, const Augmentation::Change* change, size_t row);

  std::shared_ptr<const Dataset> dataset_;
  Normalization normalization_;
  std::optional<Augmentation> augmentation_;
  std::vector<std::vector<float>> inputs_;
  std::vector<int32_t> labels_;
  std::vector<uint8_t> changed_pixels_;
  std::vector<float> changed_numbers_;
};

}  // namespace tessera
