#include "worker/nn/layers/linear.h"

#include <cmath>

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> Linear::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const int64_t out_features, options.RequiredInteger("out_features", 1, 1 << 20));
  TESSERA_ASSIGN_OR_RETURN(const bool bias, options.Bool("bias", true));
  TESSERA_ASSIGN_OR_RETURN(const double init_std, options.Number("init_std", 0, 0, 1));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `linear`"));
  return std::unique_ptr<Layer>(new Linear(out_features, bias, init_std));
}

absl::StatusOr<LayerShape> Linear::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneRow(inputs));
  const int64_t in_features = inputs[0][0];
  const bool own = init_std == 0;
  const double bound =
      own ? 1 / std::sqrt(static_cast<double>(in_features)) : std::sqrt(3.0) * init_std;
  const Initializer init{Initializer::Kind::kUniform, static_cast<float>(bound)};
  LayerShape shape{{out_features}, {}};
  shape.parameters.push_back({"weight", {out_features, in_features}, ParameterKind::kWeight, init});
  if (bias) {
    shape.parameters.push_back({"bias", {out_features}, ParameterKind::kWeight, own ? init : Initializer{}});
  }
  return shape;
}

namespace {
const LayerRegistry::Entry kEntry("linear", &Linear::Create);
}  // namespace

}  // namespace tessera::nn
