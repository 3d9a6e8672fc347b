#include "worker/nn/layers/shortcut_a.h"

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/nn/layer_inputs.h"

namespace tessera::nn {

absl::StatusOr<std::unique_ptr<Layer>> ShortcutA::Create(Options options) {
  TESSERA_ASSIGN_OR_RETURN(const int64_t out_channels, options.RequiredInteger("out_channels", 1, 1 << 16));
  TESSERA_ASSIGN_OR_RETURN(const int64_t stride, options.Integer("stride", 2, 1, 1 << 10));
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `shortcut_a`"));
  return std::unique_ptr<Layer>(new ShortcutA(out_channels, stride));
}

absl::StatusOr<LayerShape> ShortcutA::Infer(absl::Span<const Shape> inputs) const {
  TESSERA_RETURN_IF_ERROR(ExpectOneImage(inputs));
  const Shape& image = inputs[0];
  if (image[0] > out_channels) {
    return absl::InvalidArgumentError(
        absl::StrCat("out_channels ", out_channels, " is less than its input has: ", ToString(image)));
  }
  return LayerShape{{out_channels, (image[1] - 1) / stride + 1, (image[2] - 1) / stride + 1}, {}};
}

namespace {
const LayerRegistry::Entry kEntry("shortcut_a", &ShortcutA::Create);
}  // namespace

}  // namespace tessera::nn
