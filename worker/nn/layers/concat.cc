#include "worker/nn/layers/concat.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::nn {
namespace {

// Whether the shapes differ at most in their channels or features.
bool Joins(const Shape& a, const Shape& b) {
  return a.size() == b.size() && std::equal(a.begin() + 1, a.end(), b.begin() + 1);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Layer>> Concat::Create(Options options) {
  TESSERA_RETURN_IF_ERROR(options.Finish("layer `concat`"));
  return std::unique_ptr<Layer>(new Concat());
}

absl::StatusOr<LayerShape> Concat::Infer(absl::Span<const Shape> inputs) const {
  if (inputs.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("takes 2 inputs or more, not ", inputs.size()));
  }
  Shape output = inputs[0];
  for (const Shape& input : inputs.subspan(1)) {
    if (!Joins(input, inputs[0])) {
      return absl::InvalidArgumentError(absl::StrCat("joins rows, or images of one height and width, not ",
                                                     ToString(inputs[0]), " and ", ToString(input)));
    }
    output[0] += input[0];
  }
  return LayerShape{output, {}};
}

namespace {
const LayerRegistry::Entry kEntry("concat", &Concat::Create);
}  // namespace

}  // namespace tessera::nn
