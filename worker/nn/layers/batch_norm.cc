#include "worker/nn/layers/batch_norm.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> BatchNorm::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const double eps, options.Number("eps", 1e-5, 1e-12, 1));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `batch_norm`"));
  return std::unique_ptr<Layer>(new BatchNorm(eps));
}

absl::StatusOr<LayerShape> BatchNorm::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  const Shape channels{inputs[0][0]};
  const Initializer zero{Initializer::Kind::kConstant, 0.0f};
  const Initializer one{Initializer::Kind::kConstant, 1.0f};
  return LayerShape{inputs[0],
                    {{"weight", channels, ParameterKind::kWeight, one},
                     {"bias", channels, ParameterKind::kWeight, zero},
                     {"running_mean", channels, ParameterKind::kStatistic, zero},
                     {"running_var", channels, ParameterKind::kStatistic, one}}};
}

namespace {
const LayerRegistry::Entry kEntry("batch_norm", &BatchNorm::Create);
}  // namespace

}  // namespace tessera::nn
