#include "worker/nn/layers/dropout.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> Dropout::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const double p, options.Number("p", 0.5, 0, 1));
  if (p == 1) return options.Error("p", "`p` must be below 1: at 1 nothing is left");
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `dropout`"));
  return std::unique_ptr<Layer>(new Dropout(p));
}

absl::StatusOr<LayerShape> Dropout::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectInputs(inputs, 1));
  return LayerShape{inputs[0], {}};
}

namespace {
const LayerRegistry::Entry kEntry("dropout", &Dropout::Create);
}  // namespace

}  // namespace tessera::nn
