// Gathers samples of a data set into a normalised minibatch. Not thread-safe; owns the batch's memory.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/data/dataset.h"
#include "worker/data/normalization.h"
#include "worker/nn/executor.h"

namespace tessera {

class BatchLoader {
 public:
  // Errors: kInvalidArgument, `normalization` is not of as many channels as the images.
  static absl::StatusOr<BatchLoader> Create(std::shared_ptr<const Dataset> dataset,
                                            Normalization normalization);

  // The batch of `indices`, in their order; valid until the next call.
  nn::Batch Load(absl::Span<const uint32_t> indices);

 private:
  BatchLoader(std::shared_ptr<const Dataset> dataset, Normalization normalization);

  std::shared_ptr<const Dataset> dataset_;
  Normalization normalization_;
  std::vector<float> images_;
  std::vector<int32_t> labels_;
};

}  // namespace tessera
