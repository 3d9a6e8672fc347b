// What every executor asks of a batch and says of a result, in one wording.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "worker/nn/executor.h"

namespace tessera::nn {

// Errors: kInvalidArgument, an empty batch, inputs of another number or length, a label out of range.
absl::Status CheckBatch(const Graph& graph, const Batch& batch);

// Rows of `logits` [N,classes] whose largest value (ties: the lowest class) is the label.
int64_t CountCorrect(absl::Span<const float> logits, absl::Span<const int32_t> labels);
int64_t CountCorrect(absl::Span<const double> logits, absl::Span<const int32_t> labels);

// No NaN and no infinity; true for none.
bool AllFinite(absl::Span<const float> values);
bool AllFinite(absl::Span<const double> values);

// kOutOfRange: "layer `conv2`: output is not finite".
absl::Status NotFiniteOutput(const Node& node);
// kOutOfRange: "loss is not finite"; for when every layer's output is.
absl::Status NotFiniteLoss();

}  // namespace tessera::nn
