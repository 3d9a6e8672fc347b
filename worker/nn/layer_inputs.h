// What layers ask of their inputs' shapes, in one wording. Errors: kInvalidArgument.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/shape.h"

namespace tessera::nn {

// "takes 1 input, not 2".
absl::Status ExpectInputs(absl::Span<const Shape> inputs, size_t count);

// Exactly one input, and that an image [C,H,W].
absl::Status ExpectOneImage(absl::Span<const Shape> inputs);

// Exactly one input, and that a row [F].
absl::Status ExpectOneRow(absl::Span<const Shape> inputs);

// floor((size + 2*padding - dilation*(kernel-1) - 1) / stride) + 1 for both sizes of `image` [C,H,W]:
// [H',W']. Errors: the kernel does not fit the padded image.
absl::StatusOr<Shape> WindowGrid(const Shape& image, int64_t kernel_h, int64_t kernel_w, int64_t stride,
                                 int64_t padding, int64_t dilation = 1);

}  // namespace tessera::nn
