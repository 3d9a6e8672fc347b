#include "worker/nn/layers/avg_pool.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {
namespace {

constexpr int64_t kMaxWindow = 1 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<Layer>> AvgPool::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const int64_t kernel, options.RequiredInteger("kernel", 1, kMaxWindow));
  TESSERA_ASSIGN_OR_RETURN(const int64_t stride, options.Integer("stride", kernel, 1, kMaxWindow));
  TESSERA_ASSIGN_OR_RETURN(const int64_t padding, options.Integer("padding", 0, 0, kernel / 2));
  TESSERA_ASSIGN_OR_RETURN(const bool count_include_pad, options.Bool("count_include_pad", true));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `avg_pool`"));
  return std::unique_ptr<Layer>(new AvgPool(kernel, stride, padding, count_include_pad));
}

absl::StatusOr<LayerShape> AvgPool::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  TESSERA_ASSIGN_OR_RETURN(const Shape grid, WindowGrid(inputs[0], kernel, kernel, stride, padding));
  return LayerShape{{inputs[0][0], grid[0], grid[1]}, {}};
}

namespace {
const LayerRegistry::Entry kEntry("avg_pool", &AvgPool::Create);
}  // namespace

}  // namespace tessera::nn
