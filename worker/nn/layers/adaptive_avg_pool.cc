#include "worker/nn/layers/adaptive_avg_pool.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {
namespace {

constexpr int64_t kMaxOutput = 1 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<Layer>> AdaptiveAvgPool::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const SizePair output, RequiredSizePair(options, "output", 1, kMaxOutput));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `adaptive_avg_pool`"));
  return std::unique_ptr<Layer>(new AdaptiveAvgPool(output));
}

absl::StatusOr<LayerShape> AdaptiveAvgPool::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  return LayerShape{{inputs[0][0], output.h, output.w}, {}};
}

namespace {
const LayerRegistry::Entry kEntry("adaptive_avg_pool", &AdaptiveAvgPool::Create);
}  // namespace

}  // namespace tessera::nn
