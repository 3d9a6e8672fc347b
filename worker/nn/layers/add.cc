#include "worker/nn/layers/add.h"

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> Add::Create(Options options) {
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `add`"));
  return std::unique_ptr<Layer>(new Add());
}

absl::StatusOr<LayerShape> Add::Infer(absl::Span<const Shape> inputs) const {
  if (inputs.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("takes 2 inputs or more, not ", inputs.size()));
  }
  for (const Shape& input : inputs) {
    if (input == inputs[0]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("adds inputs of one shape, not ", ToString(inputs[0]), " and ", ToString(input)));
  }
  return LayerShape{inputs[0], {}};
}

namespace {
const LayerRegistry::Entry kEntry("add", &Add::Create);
}  // namespace

}  // namespace tessera::nn
