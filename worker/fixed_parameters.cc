#include "worker/fixed_parameters.h"

#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace tessera {

absl::StatusOr<FixedParameters> FixedParameters::Create(const nn::Graph& graph, const NamedTensors& tensors) {
  FixedParameters parameters;
  size_t used = 0;
  std::map<std::string, bool> known;
  for (const ParameterBlock& block : graph.blocks()) {
    std::vector<float>& values = parameters.blocks_.emplace_back();
    for (const ParameterSpec& spec : block.parameters) {
      const auto found = tensors.find(spec.name);
      if (found == tensors.end())
        return absl::InvalidArgumentError(absl::StrCat("no tensor `", spec.name, "`"));
      if (found->second.shape != spec.shape) {
        return absl::InvalidArgumentError(absl::StrCat("tensor `", spec.name, "` has the shape ",
                                                       ToString(found->second.shape), ", the model needs ",
                                                       ToString(spec.shape)));
      }
      values.insert(values.end(), found->second.values.begin(), found->second.values.end());
      known[spec.name] = true;
      ++used;
    }
  }
  if (used == tensors.size()) return parameters;
  for (const auto& [name, tensor] : tensors) {
    if (!known.contains(name)) {
      return absl::InvalidArgumentError(
          absl::StrCat("unexpected tensor `", name, "`: the model has none of this name"));
    }
  }
  return parameters;
}

absl::StatusOr<absl::Span<const float>> FixedParameters::Weights(int block) {
  return absl::Span<const float>(blocks_[static_cast<size_t>(block)]);
}

absl::Span<float> FixedParameters::Gradient(int) {
  TESSERA_CHECK(false && "an evaluation has no gradients");
  return {};
}

absl::Status FixedParameters::GradientReady(int) {
  return absl::InternalError("an evaluation has no gradients");
}

}  // namespace tessera
