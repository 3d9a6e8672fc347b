#include "common/rpc/cluster_map.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tessera {

absl::StatusOr<ShardLayout> LayoutFromMap(const wire::ClusterMap& map) {
  std::vector<ParameterBlock> blocks;
  for (const wire::Block& from : map.blocks()) {
    ParameterBlock& block = blocks.emplace_back();
    block.layer = from.layer();
    block.kind = from.statistic() ? ParameterKind::kStatistic : ParameterKind::kWeight;
    for (const wire::Parameter& parameter : from.parameters()) {
      ParameterSpec& spec = block.parameters.emplace_back();
      spec.name = parameter.name();
      spec.shape.assign(parameter.shape().begin(), parameter.shape().end());
      for (int64_t dimension : spec.shape) {
        if (dimension <= 0) {
          return absl::InvalidArgumentError(
              absl::StrCat("parameter ", spec.name, " has the shape ", ToString(spec.shape)));
        }
      }
      spec.kind = block.kind;
      spec.init.kind = parameter.uniform() ? Initializer::Kind::kUniform : Initializer::Kind::kConstant;
      spec.init.value = parameter.value();
    }
  }
  return ShardLayout::Create(std::move(blocks), map.shard_bytes());
}

void LayoutToMap(const ShardLayout& layout, int64_t shard_bytes, wire::ClusterMap* map) {
  map->set_shard_bytes(shard_bytes);
  for (const ParameterBlock& block : layout.blocks()) {
    wire::Block* to = map->add_blocks();
    to->set_layer(block.layer);
    to->set_statistic(block.kind == ParameterKind::kStatistic);
    for (const ParameterSpec& spec : block.parameters) {
      wire::Parameter* parameter = to->add_parameters();
      parameter->set_name(spec.name);
      for (int64_t dimension : spec.shape) parameter->add_shape(dimension);
      parameter->set_uniform(spec.init.kind == Initializer::Kind::kUniform);
      parameter->set_value(spec.init.value);
    }
  }
}

}  // namespace tessera
