#include "worker/nn/layers/local_response_norm.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {
namespace {

constexpr int64_t kMaxSize = 1 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<Layer>> LocalResponseNorm::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const int64_t size, options.RequiredInteger("size", 1, kMaxSize));
  TESSERA_ASSIGN_OR_RETURN(const double alpha, options.Number("alpha", 1e-4, 0, 1e6));
  TESSERA_ASSIGN_OR_RETURN(const double beta, options.Number("beta", 0.75, 0, 100));
  TESSERA_ASSIGN_OR_RETURN(const double k, options.Number("k", 1, 1e-6, 1e6));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `local_response_norm`"));
  return std::unique_ptr<Layer>(new LocalResponseNorm(size, alpha, beta, k));
}

absl::StatusOr<LayerShape> LocalResponseNorm::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  return LayerShape{inputs[0], {}};
}

namespace {
const LayerRegistry::Entry kEntry("local_response_norm", &LocalResponseNorm::Create);
}  // namespace

}  // namespace tessera::nn
