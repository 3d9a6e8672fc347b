#include "worker/nn/layers/max_pool.h"

#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {
namespace {

constexpr int64_t kMaxWindow = 1 << 10;

// Windows along one dimension in ceil mode, given how many fit whole.
int64_t CeilWindows(int64_t size, int64_t whole, int64_t kernel, int64_t stride, int64_t padding) {
  const bool covered = (whole - 1) * stride + kernel >= size + 2 * padding;
  const bool next_starts_inside = whole * stride < size + padding;
  return !covered && next_starts_inside ? whole + 1 : whole;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Layer>> MaxPool::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const int64_t kernel, options.RequiredInteger("kernel", 1, kMaxWindow));
  TESSERA_ASSIGN_OR_RETURN(const int64_t stride, options.Integer("stride", kernel, 1, kMaxWindow));
  TESSERA_ASSIGN_OR_RETURN(const int64_t padding, options.Integer("padding", 0, 0, kernel / 2));
  TESSERA_ASSIGN_OR_RETURN(const bool ceil_mode, options.Bool("ceil_mode", false));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `max_pool`"));
  return std::unique_ptr<Layer>(new MaxPool(kernel, stride, padding, ceil_mode));
}

absl::StatusOr<LayerShape> MaxPool::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  const Shape& image = inputs[0];
  TESSERA_ASSIGN_OR_RETURN(Shape grid, WindowGrid(image, kernel, kernel, stride, padding));
  if (ceil_mode) {
    grid[0] = CeilWindows(image[1], grid[0], kernel, stride, padding);
    grid[1] = CeilWindows(image[2], grid[1], kernel, stride, padding);
  }
  return LayerShape{{image[0], grid[0], grid[1]}, {}};
}

namespace {
const LayerRegistry::Entry kEntry("max_pool", &MaxPool::Create);
}  // namespace

}  // namespace tessera::nn
