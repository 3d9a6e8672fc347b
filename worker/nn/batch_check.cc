#include "worker/nn/batch_check.h"

#include <algorithm>

#include "absl/base/casts.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::nn {
namespace {

template <typename T>
int64_t CountCorrectRows(absl::Span<const T> logits, absl::Span<const int32_t> labels) {
  const size_t classes = logits.size() / labels.size();
  int64_t correct = 0;
  for (size_t n = 0; n < labels.size(); ++n) {
    const auto row = logits.subspan(n * classes, classes);
    // max_element gives the first of equals: the lowest class.
    if (std::max_element(row.begin(), row.end()) - row.begin() == labels[n]) ++correct;
  }
  return correct;
}

// A float is not finite when all bits of its exponent are set. Integers, no branch and no early exit: one
// vectorised pass, since a step runs this over every gradient.
template <typename Bits, typename T>
bool NoExponentIsFull(absl::Span<const T> values, Bits exponent) {
  Bits bad = 0;
  for (const T value : values) bad |= static_cast<Bits>((absl::bit_cast<Bits>(value) & exponent) == exponent);
  return bad == 0;
}

// Of the values that a batch of `samples` has of `input`.
absl::Status CheckLength(const InputSpec& input, int64_t samples, size_t values) {
  const int64_t expected = samples * NumElements(input.shape);
  if (static_cast<int64_t>(values) == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "the batch has ", values, " ", input.name, " values; ", samples,
      input.name == kImageName ? " images of " : " samples of ", ToString(input.shape), " have ", expected));
}

}  // namespace

absl::Status CheckBatch(const Graph& graph, const Batch& batch) {
  if (batch.labels.empty()) return absl::InvalidArgumentError("the batch is empty");
  if (batch.inputs.size() != graph.inputs().size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the batch has ", batch.inputs.size(), " inputs, the network ", graph.inputs().size()));
  }
  for (size_t k = 0; k < batch.inputs.size(); ++k) {
    TESSERA_RETURN_IF_ERROR(CheckLength(graph.inputs()[k], batch.size(), batch.inputs[k].size()));
  }
  for (size_t n = 0; n < batch.labels.size(); ++n) {
    if (batch.labels[n] >= 0 && batch.labels[n] < graph.classes()) continue;
    return absl::InvalidArgumentError(absl::StrCat("label ", batch.labels[n], " of sample ", n,
                                                   " of the batch is not in 0..", graph.classes() - 1));
  }
  return absl::OkStatus();
}

int64_t CountCorrect(absl::Span<const float> logits, absl::Span<const int32_t> labels) {
  return CountCorrectRows(logits, labels);
}

int64_t CountCorrect(absl::Span<const double> logits, absl::Span<const int32_t> labels) {
  return CountCorrectRows(logits, labels);
}

bool AllFinite(absl::Span<const float> values) { return NoExponentIsFull(values, uint32_t{0x7f800000}); }
bool AllFinite(absl::Span<const double> values) {
  return NoExponentIsFull(values, uint64_t{0x7ff0000000000000});
}

absl::Status NotFiniteOutput(const Node& node) {
  return absl::OutOfRangeError(absl::StrCat("layer `", node.name, "`: output is not finite"));
}

absl::Status NotFiniteLoss() { return absl::OutOfRangeError("loss is not finite"); }

}  // namespace tessera::nn
