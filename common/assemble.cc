#include "common/assemble.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

NamedTensors AllocateTensors(const ShardLayout& layout) {
  NamedTensors tensors;
  for (const ParameterBlock& block : layout.blocks()) {
    for (const ParameterSpec& parameter : block.parameters) {
      const auto elements = static_cast<size_t>(NumElements(parameter.shape));
      tensors[parameter.name] = {parameter.shape, std::vector<float>(elements)};
    }
  }
  return tensors;
}

absl::Status CheckShard(const ShardLayout& layout, const Shard& shard, const SharedTensor& values) {
  if (values == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("shard ", layout.Describe(shard.id), " is missing"));
  }
  if (static_cast<int64_t>(values->size()) != shard.length) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard ", layout.Describe(shard.id), " has ", values->size(), " elements"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<NamedTensors> AssembleTensors(const ShardLayout& layout,
                                             absl::Span<const SharedTensor> by_shard) {
  if (by_shard.size() != layout.shards().size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(by_shard.size(), " shards given, the model has ", layout.shards().size()));
  }
  NamedTensors tensors = AllocateTensors(layout);
  for (const Shard& shard : layout.shards()) {
    const SharedTensor& values = by_shard[shard.id];
    TESSERA_RETURN_IF_ERROR(CheckShard(layout, shard, values));
    const std::vector<ParameterSpec>& parameters = layout.blocks()[shard.block].parameters;
    for (const ShardSegment& segment : layout.Segments(shard.id)) {
      std::copy_n(values->data() + segment.shard_offset, segment.length,
                  tensors[parameters[segment.parameter].name].values.data() + segment.parameter_offset);
    }
  }
  return tensors;
}

}  // namespace tessera
