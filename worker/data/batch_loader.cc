#include "worker/data/batch_loader.h"

#include <utility>
#include <variant>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

absl::Status CheckNormalization(const Dataset& dataset, const Normalization& normalization) {
  const std::vector<nn::InputSpec>& inputs = dataset.inputs();
  if (normalization.inputs().size() != inputs.size()) {
    return absl::InvalidArgumentError(absl::StrCat("normalization is given for ",
                                                   normalization.inputs().size(), " inputs, the data has ",
                                                   inputs.size()));
  }
  for (size_t k = 0; k < inputs.size(); ++k) {
    const size_t channels = normalization.inputs()[k].mean().size();
    if (static_cast<int64_t>(channels) == inputs[k].shape[0]) continue;
    return absl::InvalidArgumentError(absl::StrCat("normalization is given for ", channels, " channels, ",
                                                   inputs[k].name, " is ", ToString(inputs[k].shape)));
  }
  return absl::OkStatus();
}

// `values` changed, in `memory`.
template <typename T>
absl::Span<const T> Changed(const Augmentation::Change& change, const Shape& shape,
                            absl::Span<const T> values, std::vector<T>& memory) {
  memory.resize(values.size());
  Augmentation::Apply(change, shape, values, absl::MakeSpan(memory));
  return memory;
}

}  // namespace

absl::StatusOr<BatchLoader> BatchLoader::Create(std::shared_ptr<const Dataset> dataset,
                                                Normalization normalization,
                                                std::optional<Augmentation> augmentation) {
  TESSERA_RETURN_IF_ERROR(CheckNormalization(*dataset, normalization));
  TESSERA_RETURN_IF_ERROR(dataset->Load());
  return BatchLoader(std::move(dataset), std::move(normalization), std::move(augmentation));
}

BatchLoader::BatchLoader(std::shared_ptr<const Dataset> dataset, Normalization normalization,
                         std::optional<Augmentation> augmentation)
    : dataset_(std::move(dataset)),
      normalization_(std::move(normalization)),
      augmentation_(std::move(augmentation)),
      inputs_(dataset_->inputs().size()) {}

nn::Batch BatchLoader::Load(absl::Span<const uint32_t> indices) {
  return Gather(indices, [](uint32_t) { return std::optional<Augmentation::Change>(); });
}

nn::Batch BatchLoader::LoadForTraining(absl::Span<const uint32_t> indices, int64_t epoch) {
  if (!augmentation_.has_value()) return Load(indices);
  return Gather(indices, [&](uint32_t sample) {
    return std::optional<Augmentation::Change>(augmentation_->ChangeOf(epoch, sample));
  });
}

template <typename ChangeOf>
nn::Batch BatchLoader::Gather(absl::Span<const uint32_t> indices, const ChangeOf& change_of) {
  for (size_t k = 0; k < inputs_.size(); ++k) {
    inputs_[k].resize(indices.size() * static_cast<size_t>(NumElements(dataset_->inputs()[k].shape)));
  }
  labels_.resize(indices.size());
  for (size_t row = 0; row < indices.size(); ++row) {
    const std::optional<Augmentation::Change> change = change_of(indices[row]);
    GatherSample(indices[row], change.has_value() ? &*change : nullptr, row);
    labels_[row] = dataset_->Label(indices[row]);
  }
  return {std::vector<absl::Span<const float>>(inputs_.begin(), inputs_.end()), labels_};
}

void BatchLoader::GatherSample(uint32_t index, const Augmentation::Change* change, size_t row) {
  for (size_t k = 0; k < inputs_.size(); ++k) {
    const Shape& shape = dataset_->inputs()[k].shape;
    const auto length = static_cast<size_t>(NumElements(shape));
    InputValues values = dataset_->Values(index, k);
    if (change != nullptr && shape.size() == 3) {
      if (const auto* pixels = std::get_if<absl::Span<const uint8_t>>(&values)) {
        values = Changed(*change, shape, *pixels, changed_pixels_);
      } else {
        values = Changed(*change, shape, std::get<absl::Span<const float>>(values), changed_numbers_);
      }
    }
    normalization_.inputs()[k].Apply(values, absl::MakeSpan(inputs_[k]).subspan(row * length, length));
  }
}

}  // namespace tessera
