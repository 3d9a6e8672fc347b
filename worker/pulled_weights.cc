#include "worker/pulled_weights.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tessera {
namespace {

// Which of its block's shards `shard` is: shards of a block have consecutive ids.
size_t IndexInBlock(const ShardLayout& layout, const Shard& shard) {
  return static_cast<size_t>(shard.id - layout.ShardsOfBlock(shard.block).front());
}

}  // namespace

PulledWeights::PulledWeights(const ShardLayout& layout) : layout_(layout), blocks_(layout.blocks().size()) {
  for (size_t block = 0; block < blocks_.size(); ++block) {
    const size_t shards = layout_.ShardsOfBlock(static_cast<int>(block)).size();
    for (Generation& generation : blocks_[block].generations) {
      generation.values =
          std::make_shared<TensorBuffer>(static_cast<size_t>(layout_.blocks()[block].num_elements()));
      generation.clocks.assign(shards, -1);
      generation.versions.assign(shards, -1);
    }
  }
}

void PulledWeights::Expect(int block, Clock clock) {
  MutexLock lock(&mutex_);
  Clock& expected = blocks_[static_cast<size_t>(block)].expected;
  expected = std::max(expected, clock);
}

absl::Status PulledWeights::Install(ShardId shard_id, Clock clock, Version version,
                                    const TensorBytes& tensor) {
  if (shard_id < 0 || static_cast<size_t>(shard_id) >= layout_.shards().size()) {
    return absl::InvalidArgumentError(absl::StrCat("weights of an unknown shard, ", shard_id));
  }
  const Shard& shard = layout_.shards()[static_cast<size_t>(shard_id)];
  if (static_cast<int64_t>(tensor.size_bytes()) != shard.bytes()) {
    return absl::InvalidArgumentError(absl::StrCat("weights of ", layout_.Describe(shard_id), ": ",
                                                   tensor.size_bytes(), " bytes came, not ", shard.bytes()));
  }
  Block& block = blocks_[static_cast<size_t>(shard.block)];
  const size_t index = IndexInBlock(layout_, shard);
  Generation& generation = block.generations[clock & 1];
  {
    MutexLock lock(&mutex_);
    if (clock < 0 || clock > block.expected) {
      return absl::FailedPreconditionError(absl::StrCat(
          "weights of ", layout_.Describe(shard_id), " for clock ", clock, ", which nobody has asked for"));
    }
    if (generation.clocks[index] >= clock) return absl::OkStatus();
  }
  tensor.CopyTo(generation.values->span().subspan(static_cast<size_t>(shard.offset),
                                                  static_cast<size_t>(shard.length)));
  MutexLock lock(&mutex_);
  generation.clocks[index] = clock;
  generation.versions[index] = version;
  copied_bytes_ += shard.bytes();
  arrived_.NotifyAll();
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const float>> PulledWeights::Wait(int block, Clock clock, absl::Time deadline) {
  const Generation& generation = blocks_[static_cast<size_t>(block)].generations[clock % 2];
  const auto complete = [&] {
    return std::all_of(generation.clocks.begin(), generation.clocks.end(),
                       [&](Clock at) { return at == clock; });
  };
  MutexLock lock(&mutex_);
  while (failure_.ok() && !complete()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat("the weights of layer `",
                                                      layout_.blocks()[static_cast<size_t>(block)].layer,
                                                      "` for step ", clock, " did not come in time"));
    }
    arrived_.WaitWithTimeout(&mutex_, left);
  }
  if (!failure_.ok()) return failure_;
  return absl::Span<const float>(generation.values->span());
}

Version PulledWeights::version(ShardId shard_id, Clock clock) const {
  const Shard& shard = layout_.shards()[static_cast<size_t>(shard_id)];
  MutexLock lock(&mutex_);
  return blocks_[static_cast<size_t>(shard.block)]
      .generations[clock % 2]
      .versions[IndexInBlock(layout_, shard)];
}

void PulledWeights::Fail(absl::Status status) {
  MutexLock lock(&mutex_);
  if (failure_.ok()) failure_ = std::move(status);
  arrived_.NotifyAll();
}

int64_t PulledWeights::copied_bytes() const {
  MutexLock lock(&mutex_);
  return copied_bytes_;
}

}  // namespace tessera
