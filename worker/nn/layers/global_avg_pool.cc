#include "worker/nn/layers/global_avg_pool.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> GlobalAvgPool::Create(Options options) {
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `global_avg_pool`"));
  return std::unique_ptr<Layer>(new GlobalAvgPool());
}

absl::StatusOr<LayerShape> GlobalAvgPool::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  return LayerShape{{inputs[0][0]}, {}};
}

namespace {
const LayerRegistry::Entry kEntry("global_avg_pool", &GlobalAvgPool::Create);
}  // namespace

}  // namespace tessera::nn
