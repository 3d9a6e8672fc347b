#include "worker/nn/layers/flatten.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> Flatten::Create(Options options) {
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `flatten`"));
  return std::unique_ptr<Layer>(new Flatten());
}

absl::StatusOr<LayerShape> Flatten::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectInputs(inputs, 1));
  return LayerShape{{NumElements(inputs[0])}, {}};
}

namespace {
const LayerRegistry::Entry kEntry("flatten", &Flatten::Create);
}  // namespace

}  // namespace tessera::nn
