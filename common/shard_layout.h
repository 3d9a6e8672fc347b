// Cuts a model's parameters into shards: contiguous ranges of one layer's flat parameters, at most
// `shard_bytes` each. Boundaries depend on the model and `shard_bytes` alone, never on the number of servers:
// a block is cut into as few shards as fit, of nearly equal lengths (multiples of 64 bytes where
// `shard_bytes` allows, but for the last).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/parameter_spec.h"
#include "common/types.h"

namespace tessera {

// The parameters of one layer and one kind, laid one after another: the flat vector that shards cut.
// A layer with weights and statistics has two blocks. Order: as the graph lists its layers.
struct ParameterBlock {
  std::string layer;
  ParameterKind kind = ParameterKind::kWeight;
  std::vector<ParameterSpec> parameters;

  int64_t num_elements() const;
};

// Elements [offset, offset + length) of block `block`.
struct Shard {
  ShardId id = 0;
  int block = 0;
  int64_t offset = 0;
  int64_t length = 0;

  int64_t bytes() const { return length * static_cast<int64_t>(sizeof(float)); }
};

// The part of one parameter that lies in a shard: elements [parameter_offset, +length) of `parameter`
// (an index into the block's parameters) stand at `shard_offset` of the shard.
struct ShardSegment {
  int parameter = 0;
  int64_t parameter_offset = 0;
  int64_t shard_offset = 0;
  int64_t length = 0;
};

// Immutable after Create.
class ShardLayout {
 public:
  // Without blocks and shards.
  ShardLayout() = default;

  static constexpr int64_t kMaxShards = 1 << 20;
  // Errors: kInvalidArgument, shard_bytes below 4 or so small that it makes more than kMaxShards, a
  // parameter's name that occurs twice, an empty parameter or block.
  static absl::StatusOr<ShardLayout> Create(std::vector<ParameterBlock> blocks, int64_t shard_bytes);

  const std::vector<ParameterBlock>& blocks() const { return blocks_; }
  const std::vector<Shard>& shards() const { return shards_; }
  int64_t total_bytes() const;

  // Ids of the shards of `block`, in order of offset.
  absl::Span<const ShardId> ShardsOfBlock(int block) const { return shards_of_block_[block]; }
  std::vector<ShardSegment> Segments(ShardId shard) const;

  // "conv1 [0,520)" or "bn1 statistics [0,32)", for messages.
  std::string Describe(ShardId shard) const;

 private:
  std::vector<ParameterBlock> blocks_;
  std::vector<Shard> shards_;
  std::vector<std::vector<ShardId>> shards_of_block_;
};

}  // namespace tessera
