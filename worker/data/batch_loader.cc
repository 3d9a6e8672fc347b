#include "worker/data/batch_loader.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace tessera {

absl::StatusOr<BatchLoader> BatchLoader::Create(std::shared_ptr<const Dataset> dataset,
                                                Normalization normalization) {
  const auto channels = static_cast<size_t>(dataset->image_shape()[0]);
  if (normalization.mean().size() != channels) {
    return absl::InvalidArgumentError(absl::StrCat("normalization is given for ", normalization.mean().size(),
                                                   " channels, the images are ",
                                                   ToString(dataset->image_shape())));
  }
  return BatchLoader(std::move(dataset), std::move(normalization));
}

BatchLoader::BatchLoader(std::shared_ptr<const Dataset> dataset, Normalization normalization)
    : dataset_(std::move(dataset)), normalization_(std::move(normalization)) {}

nn::Batch BatchLoader::Load(absl::Span<const uint32_t> indices) {
  const auto image_size = static_cast<size_t>(NumElements(dataset_->image_shape()));
  images_.resize(indices.size() * image_size);
  labels_.resize(indices.size());
  for (size_t i = 0; i < indices.size(); ++i) {
    normalization_.Apply(dataset_->Pixels(indices[i]),
                         absl::MakeSpan(images_).subspan(i * image_size, image_size));
    labels_[i] = dataset_->Label(indices[i]);
  }
  return {images_, labels_};
}

}  // namespace tessera
