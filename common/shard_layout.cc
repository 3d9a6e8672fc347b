#include "common/shard_layout.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera {
namespace {

// 64 bytes: a shard that starts on a cache line of its block is added and copied without straddling.
constexpr int64_t kElementsPerLine = 16;

int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Length of all shards of a block but the last: as few shards as fit, of nearly equal lengths.
int64_t ShardLength(int64_t block_length, int64_t max_length) {
  const int64_t even = CeilDivide(block_length, CeilDivide(block_length, max_length));
  return std::min(CeilDivide(even, kElementsPerLine) * kElementsPerLine, max_length);
}

absl::Status CheckShape(const ParameterSpec& parameter) {
  int64_t elements = 1;
  for (const int64_t dimension : parameter.shape) {
    if (dimension < 1 || __builtin_mul_overflow(elements, dimension, &elements)) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter `", parameter.name, "`: no shape: ", ToString(parameter.shape)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBlocks(const std::vector<ParameterBlock>& blocks) {
  std::set<std::string> names;
  for (const ParameterBlock& block : blocks) {
    if (block.parameters.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("layer `", block.layer, "`: a block without parameters"));
    }
    for (const ParameterSpec& parameter : block.parameters) {
      TESSERA_RETURN_IF_ERROR(CheckShape(parameter));
      if (!names.insert(parameter.name).second) {
        return absl::InvalidArgumentError(
            absl::StrCat("layer `", block.layer, "`: parameter `", parameter.name, "` occurs twice"));
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

int64_t ParameterBlock::num_elements() const {
  int64_t elements = 0;
  for (const ParameterSpec& parameter : parameters) elements += NumElements(parameter.shape);
  return elements;
}

absl::StatusOr<ShardLayout> ShardLayout::Create(std::vector<ParameterBlock> blocks, int64_t shard_bytes) {
  const int64_t max_length = shard_bytes / static_cast<int64_t>(sizeof(float));
  if (max_length < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("shard_bytes is ", shard_bytes, ": a shard holds at least one float (4 bytes)"));
  }
  TESSERA_RETURN_IF_ERROR(CheckBlocks(blocks));
  ShardLayout layout;
  layout.blocks_ = std::move(blocks);
  layout.shards_of_block_.resize(layout.blocks_.size());
  for (size_t block = 0; block < layout.blocks_.size(); ++block) {
    const int64_t block_length = layout.blocks_[block].num_elements();
    const int64_t length = ShardLength(block_length, max_length);
    if (CeilDivide(block_length, length) > kMaxShards - static_cast<int64_t>(layout.shards_.size())) {
      return absl::InvalidArgumentError(absl::StrCat("layer `", layout.blocks_[block].layer,
                                                     "`: shard_bytes ", shard_bytes, " would make more than ",
                                                     kMaxShards, " shards"));
    }
    for (int64_t offset = 0; offset < block_length; offset += length) {
      const auto id = static_cast<ShardId>(layout.shards_.size());
      layout.shards_.push_back(
          {id, static_cast<int>(block), offset, std::min(length, block_length - offset)});
      layout.shards_of_block_[block].push_back(id);
    }
  }
  return layout;
}

int64_t ShardLayout::total_bytes() const {
  int64_t bytes = 0;
  for (const Shard& shard : shards_) bytes += shard.bytes();
  return bytes;
}

std::vector<ShardSegment> ShardLayout::Segments(ShardId id) const {
  const Shard& shard = shards_[id];
  const std::vector<ParameterSpec>& parameters = blocks_[shard.block].parameters;
  std::vector<ShardSegment> segments;
  int64_t start = 0;  // of the parameter, in the block
  for (size_t i = 0; i < parameters.size(); ++i) {
    const int64_t end = start + NumElements(parameters[i].shape);
    const int64_t from = std::max(start, shard.offset);
    const int64_t to = std::min(end, shard.offset + shard.length);
    if (from < to) segments.push_back({static_cast<int>(i), from - start, from - shard.offset, to - from});
    start = end;
  }
  return segments;
}

std::string ShardLayout::Describe(ShardId id) const {
  const Shard& shard = shards_[id];
  const ParameterBlock& block = blocks_[shard.block];
  return absl::StrCat(block.layer, block.kind == ParameterKind::kStatistic ? " statistics" : "", " [",
                      shard.offset, ",", shard.offset + shard.length, ")");
}

}  // namespace tessera
