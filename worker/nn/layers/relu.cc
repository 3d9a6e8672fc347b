#include "worker/nn/layers/relu.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> Relu::Create(Options options) {
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `relu`"));
  return std::unique_ptr<Layer>(new Relu());
}

absl::StatusOr<LayerShape> Relu::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectInputs(inputs, 1));
  return LayerShape{inputs[0], {}};
}

namespace {
const LayerRegistry::Entry kEntry("relu", &Relu::Create);
}  // namespace

}  // namespace tessera::nn
