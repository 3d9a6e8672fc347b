#include "worker/nn/layer_inputs.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::nn {
namespace {

std::string KernelText(int64_t kernel_h, int64_t kernel_w) {
  return kernel_h == kernel_w ? absl::StrCat(kernel_h) : absl::StrCat(kernel_h, "x", kernel_w);
}

}  // namespace

absl::Status ExpectInputs(absl::Span<const Shape> inputs, size_t count) {
  if (inputs.size() == count) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("takes ", count, count == 1 ? " input" : " inputs", ", not ", inputs.size()));
}

absl::Status ExpectOneImage(absl::Span<const Shape> inputs) {
  TESSERA_RETURN_IF_ERROR(ExpectInputs(inputs, 1));
  if (inputs[0].size() == 3) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("needs an image [C,H,W] as input, not ", ToString(inputs[0])));
}

absl::Status ExpectOneRow(absl::Span<const Shape> inputs) {
  TESSERA_RETURN_IF_ERROR(ExpectInputs(inputs, 1));
  if (inputs[0].size() == 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("needs a row [F] as input, not ", ToString(inputs[0]),
                                                 inputs[0].size() == 3 ? "; put a `flatten` before it" : ""));
}

absl::StatusOr<Shape> WindowGrid(const Shape& image, int64_t kernel_h, int64_t kernel_w, int64_t stride,
                                 int64_t padding, int64_t dilation) {
  const int64_t room_h = image[1] + 2 * padding - dilation * (kernel_h - 1) - 1;
  const int64_t room_w = image[2] + 2 * padding - dilation * (kernel_w - 1) - 1;
  if (room_h < 0 || room_w < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "kernel ", KernelText(kernel_h, kernel_w),
        dilation > 1 ? absl::StrCat(" with dilation ", dilation) : "", " does not fit its input ",
        ToString(image), padding > 0 ? absl::StrCat(" with padding ", padding) : ""));
  }
  return Shape{room_h / stride + 1, room_w / stride + 1};
}

}  // namespace tessera::nn
