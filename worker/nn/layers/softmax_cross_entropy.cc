#include "worker/nn/layers/softmax_cross_entropy.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> SoftmaxCrossEntropy::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const double label_smoothing, options.Number("label_smoothing", 0, 0, 1));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `softmax_cross_entropy`"));
  return std::unique_ptr<Layer>(new SoftmaxCrossEntropy(label_smoothing));
}

absl::StatusOr<LayerShape> SoftmaxCrossEntropy::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneRow(inputs));
  return LayerShape{Shape{}, {}};
}

namespace {
const LayerRegistry::Entry kEntry("softmax_cross_entropy", &SoftmaxCrossEntropy::Create);
}  // namespace

}  // namespace tessera::nn
