#include "worker/nn/layers/conv2d.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/nn/layer_inputs.h"
#include "worker/nn/size_pair.h"

namespace tessera::nn {
namespace {

constexpr int64_t kMaxChannels = 1 << 16;
constexpr int64_t kMaxWindow = 1 << 10;

Initializer Uniform(double bound) { return {Initializer::Kind::kUniform, static_cast<float>(bound)}; }

absl::StatusOr<Conv2d::Init> ReadInit(Options& options) {
  TESSERA_ASSIGN_OR_RETURN(const std::string init, options.String("init", "default"));
  if (init == "default") return Conv2d::Init::kDefault;
  if (init == "kaiming") return Conv2d::Init::kKaiming;
  return options.Error("init", absl::StrCat("`init` is default or kaiming, not `", init, "`"));
}

}  // namespace

Conv2d::Conv2d(const Attributes& attributes)
    : out_channels(attributes.out_channels),
      kernel_h(attributes.kernel_h),
      kernel_w(attributes.kernel_w),
      stride(attributes.stride),
      padding(attributes.padding),
      dilation(attributes.dilation),
      groups(attributes.groups),
      bias(attributes.bias),
      init(attributes.init) {}

absl::StatusOr<std::unique_ptr<Layer>> Conv2d::Create(Options options) {
  Attributes attributes;
  TESSERA_ASSIGN_OR_RETURN(attributes.out_channels, options.RequiredInteger("out_channels", 1, kMaxChannels));
  TESSERA_ASSIGN_OR_RETURN(const SizePair kernel, RequiredSizePair(options, "kernel", 1, kMaxWindow));
  attributes.kernel_h = kernel.h;
  attributes.kernel_w = kernel.w;
  TESSERA_ASSIGN_OR_RETURN(attributes.stride, options.Integer("stride", 1, 1, kMaxWindow));
  TESSERA_ASSIGN_OR_RETURN(attributes.padding, options.Integer("padding", 0, 0, kMaxWindow));
  TESSERA_ASSIGN_OR_RETURN(attributes.dilation, options.Integer("dilation", 1, 1, kMaxWindow));
  TESSERA_ASSIGN_OR_RETURN(attributes.groups, options.Integer("groups", 1, 1, kMaxChannels));
  if (attributes.out_channels % attributes.groups != 0) {
    return options.Error("groups", absl::StrCat("`groups` must divide `out_channels`: ", attributes.groups,
                                                " groups, ", attributes.out_channels, " channels"));
  }
  TESSERA_ASSIGN_OR_RETURN(attributes.bias, options.Bool("bias", true));
  TESSERA_ASSIGN_OR_RETURN(attributes.init, ReadInit(options));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `conv2d`"));
  return std::unique_ptr<Layer>(new Conv2d(attributes));
}

absl::StatusOr<LayerShape> Conv2d::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  if (inputs[0][0] % groups != 0) {
    return absl::InvalidArgumentError(absl::StrCat("`groups` must divide the channels of its input ",
                                                   ToString(inputs[0]), ", not be ", groups));
  }
  TESSERA_ASSIGN_OR_RETURN(const Shape grid,
                           WindowGrid(inputs[0], kernel_h, kernel_w, stride, padding, dilation));
  const int64_t in_channels = inputs[0][0] / groups;
  const bool kaiming = init == Init::kKaiming;
  const double fan_in = static_cast<double>(in_channels * kernel_h * kernel_w);
  const double fan_out = static_cast<double>(out_channels * kernel_h * kernel_w);
  const Initializer weight_init = Uniform(kaiming ? std::sqrt(6 / fan_out) : 1 / std::sqrt(fan_in));
  LayerShape shape{{out_channels, grid[0], grid[1]}, {}};
  shape.parameters.push_back(
      {"weight", {out_channels, in_channels, kernel_h, kernel_w}, ParameterKind::kWeight, weight_init});
  if (bias) {
    shape.parameters.push_back(
        {"bias", {out_channels}, ParameterKind::kWeight, kaiming ? Initializer{} : weight_init});
  }
  return shape;
}

namespace {
const LayerRegistry::Entry kEntry("conv2d", &Conv2d::Create);
}  // namespace

}  // namespace tessera::nn
