#include "worker/pulled_weights.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status.h"

namespace tessera {
namespace {

// A wait for arrivals is woken by them; this only bounds it.
constexpr absl::Duration kLongestWait = absl::Minutes(1);
constexpr uintptr_t kAlignment = 64;  // of a block, as a TensorBuffer's

}  // namespace

PulledWeights::PulledWeights(const ShardLayout& layout, std::vector<ReplicaRange> groups, Keep keep)
    : layout_(layout),
      groups_(std::move(groups)),
      keep_(keep),
      blocks_(groups_.size()),
      released_(groups_.size(), 0) {
  for (std::vector<Block>& blocks : blocks_) {
    for (size_t block = 0; block < layout_.blocks().size(); ++block) {
      blocks.emplace_back(layout_.ShardsOfBlock(static_cast<int>(block)).size());
    }
  }
}

absl::StatusOr<int> PulledWeights::GroupOf(ReplicaRange replicas) const {
  for (size_t group = 0; group < groups_.size(); ++group) {
    if (groups_[group].Contains(replicas)) return static_cast<int>(group);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("an answer for replicas ", ToString(replicas), ", which do not run here"));
}

absl::StatusOr<const Shard*> PulledWeights::FindShard(ShardId shard) const {
  if (shard >= 0 && static_cast<size_t>(shard) < layout_.shards().size()) {
    return &layout_.shards()[static_cast<size_t>(shard)];
  }
  return absl::InvalidArgumentError(absl::StrCat("an answer of an unknown shard, ", shard));
}

// Which of its block's shards `shard` is: shards of a block have consecutive ids.
size_t PulledWeights::IndexInBlock(const Shard& shard) const {
  return static_cast<size_t>(shard.id - layout_.ShardsOfBlock(shard.block).front());
}

const Shard& PulledWeights::ShardAt(int block, size_t index) const {
  return layout_.shards()[static_cast<size_t>(layout_.ShardsOfBlock(block)[index])];
}

void PulledWeights::Expect(int group, int block, Clock clock) {
  MutexLock lock(&mutex_);
  Clock& expected = blocks_[static_cast<size_t>(group)][static_cast<size_t>(block)].expected;
  expected = std::max(expected, clock);
}

absl::Status PulledWeights::Install(ShardId shard_id, ReplicaRange replicas, Clock clock, Version version,
                                    const TensorBytes& tensor) {
  TESSERA_ASSIGN_OR_RETURN(const int group, GroupOf(replicas));
  TESSERA_ASSIGN_OR_RETURN(const Shard* const shard, FindShard(shard_id));
  if (static_cast<int64_t>(tensor.size_bytes()) != shard->bytes()) {
    return absl::InvalidArgumentError(absl::StrCat("weights of ", layout_.Describe(shard_id), ": ",
                                                   tensor.size_bytes(), " bytes came, not ", shard->bytes()));
  }
  Block& block = blocks_[static_cast<size_t>(group)][static_cast<size_t>(shard->block)];
  const size_t index = IndexInBlock(*shard);
  Generation& generation = block.generations[clock & 1];
  std::vector<Owner> dropped;  // outside the lock
  std::vector<Moved> moved;
  TensorBuffer* values = nullptr;  // null: it is held in place
  bool answered = false;
  {
    MutexLock lock(&mutex_);
    if (clock < 0 || clock > block.expected) {
      return absl::FailedPreconditionError(absl::StrCat(
          "weights of ", layout_.Describe(shard_id), " for clock ", clock, ", which nobody has asked for"));
    }
    const bool late = clock < generation.clock || clock < released_[static_cast<size_t>(group)];
    if (late || generation.taken[index] >= clock) return absl::OkStatus();
    if (clock > generation.clock) dropped = BeginLocked(&generation, clock);
    generation.taken[index] = clock;
    generation.versions[index] = version;
    if (HoldLocked(&generation, *shard, tensor)) {
      generation.clocks[index] = clock;
      answered = IsBlockAnswered(block, clock);
    } else {
      moved = GiveUpLocked(&generation, shard->block);
      values = generation.values.get();
    }
  }
  if (values != nullptr) {
    CopyInto(values, *shard, tensor);
    for (const Moved& held : moved) CopyInto(values, ShardAt(shard->block, held.index), held.tensor);
    MutexLock lock(&mutex_);
    generation.clocks[index] = clock;
    copied_bytes_ += shard->bytes();
    for (const Moved& held : moved) {
      generation.clocks[held.index] = clock;
      copied_bytes_ += static_cast<int64_t>(held.tensor.size_bytes());
    }
    answered = IsBlockAnswered(block, clock);
  }
  // Nobody waits for less than a block; who does finds the lock free.
  if (answered) arrived_.NotifyAll();
  return absl::OkStatus();
}

std::vector<PulledWeights::Owner> PulledWeights::BeginLocked(Generation* generation, Clock clock) {
  generation->clock = clock;
  generation->where = Where::kNowhere;
  return std::exchange(generation->held, std::vector<Owner>(generation->held.size()));
}

bool PulledWeights::HoldLocked(Generation* generation, const Shard& shard, const TensorBytes& tensor) const {
  const bool may_be_held =
      keep_ == Keep::kInPlace && tensor.pieces().size() == 1 && tensor.pieces().front().lasting;
  if (!may_be_held || generation->where == Where::kCopy) return false;
  const TensorBytes::Piece& piece = tensor.pieces().front();
  // Where the block begins if this is a part of it.
  const uintptr_t begin =
      reinterpret_cast<uintptr_t>(piece.bytes.data()) - static_cast<uintptr_t>(shard.offset) * sizeof(float);
  const bool adjoins =
      generation->where == Where::kInPlace ? begin == generation->begin : begin % kAlignment == 0;
  if (!adjoins) return false;
  generation->where = Where::kInPlace;
  generation->begin = begin;
  generation->held[IndexInBlock(shard)] = piece.owner;
  return true;
}

std::vector<PulledWeights::Moved> PulledWeights::GiveUpLocked(Generation* generation, int block) const {
  if (generation->values == nullptr) {
    generation->values = std::make_shared<TensorBuffer>(
        static_cast<size_t>(layout_.blocks()[static_cast<size_t>(block)].num_elements()));
  }
  std::vector<Moved> moved;
  if (std::exchange(generation->where, Where::kCopy) != Where::kInPlace) return moved;
  for (size_t index = 0; index < generation->held.size(); ++index) {
    if (generation->clocks[index] != generation->clock) continue;
    const Shard& shard = ShardAt(block, index);
    const auto* const bytes = reinterpret_cast<const uint8_t*>(
        generation->begin + static_cast<uintptr_t>(shard.offset) * sizeof(float));
    moved.emplace_back().index = index;
    moved.back().tensor.Append(
        {std::move(generation->held[index]), {bytes, static_cast<size_t>(shard.bytes())}, /*lasting=*/true});
    generation->clocks[index] = kNoClock;  // it is not there until it has been copied
  }
  return moved;
}

void PulledWeights::CopyInto(TensorBuffer* values, const Shard& shard, const TensorBytes& tensor) {
  tensor.CopyTo(values->span().subspan(static_cast<size_t>(shard.offset), static_cast<size_t>(shard.length)));
}

void PulledWeights::Release(int group, Clock clock) {
  std::vector<Owner> dropped;  // outside the lock
  MutexLock lock(&mutex_);
  Clock& released = released_[static_cast<size_t>(group)];
  released = std::max(released, clock + 1);
  for (Block& block : blocks_[static_cast<size_t>(group)]) {
    for (Generation& generation : block.generations) {
      if (generation.clock > clock) continue;
      std::move(generation.held.begin(), generation.held.end(), std::back_inserter(dropped));
    }
  }
}

absl::Status PulledWeights::Drop(ShardId shard_id, ReplicaRange replicas, Clock clock, Clock round) {
  TESSERA_ASSIGN_OR_RETURN(const int group, GroupOf(replicas));
  TESSERA_ASSIGN_OR_RETURN(const Shard* const shard, FindShard(shard_id));
  if (round <= clock) {
    return absl::InvalidArgumentError(absl::StrCat(layout_.Describe(shard_id), " dropped a push of clock ",
                                                   clock, ", but its round is only ", round));
  }
  MutexLock lock(&mutex_);
  Block& block = blocks_[static_cast<size_t>(group)][static_cast<size_t>(shard->block)];
  if (clock > block.expected) {
    return absl::FailedPreconditionError(absl::StrCat(layout_.Describe(shard_id), " dropped a push of clock ",
                                                      clock, ", which has not been made"));
  }
  Dropped& dropped = block.dropped[IndexInBlock(*shard)];
  if (clock + 1 >= dropped.clock) dropped = {clock + 1, round};
  arrived_.NotifyAll();
  return absl::OkStatus();
}

absl::StatusOr<absl::Span<const float>> PulledWeights::Wait(int group, int block, Clock clock,
                                                            absl::Time deadline) {
  MutexLock lock(&mutex_);
  const auto done = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return IsComplete(group, block, clock); };
  const auto what = [&] {
    return absl::StrCat("the weights of layer `", layout_.blocks()[static_cast<size_t>(block)].layer,
                        "` for step ", clock);
  };
  if (clock < released_[static_cast<size_t>(group)]) {
    return absl::FailedPreconditionError(absl::StrCat(what(), " were released"));
  }
  TESSERA_RETURN_IF_ERROR(WaitUntil(done, what, deadline));
  const Generation& found =
      blocks_[static_cast<size_t>(group)][static_cast<size_t>(block)].generations[clock & 1];
  const auto length = static_cast<size_t>(layout_.blocks()[static_cast<size_t>(block)].num_elements());
  const float* const floats =
      found.where == Where::kCopy ? found.values->data() : reinterpret_cast<const float*>(found.begin);
  return absl::MakeConstSpan(floats, length);
}

absl::StatusOr<int> PulledWeights::WaitForAny(absl::Span<const Clock> clocks, absl::Time deadline) {
  constexpr int kNone = -1;
  int found = kNone;
  MutexLock lock(&mutex_);
  const auto done = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    for (int group = 0; group < static_cast<int>(clocks.size()); ++group) {
      const Clock clock = clocks[static_cast<size_t>(group)];
      if (clock == kNoClock || !IsComplete(group, /*block=*/0, clock)) continue;
      if (found == kNone || clock < clocks[static_cast<size_t>(found)]) found = group;
    }
    return found != kNone;
  };
  const auto what = [] { return std::string("weights for any replica of this worker"); };
  TESSERA_RETURN_IF_ERROR(WaitUntil(done, what, deadline));
  return found;
}

absl::StatusOr<Clock> PulledWeights::WaitForAnswers(int group, Clock clock, absl::Time deadline) {
  MutexLock lock(&mutex_);
  const auto done = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return IsAnswered(group, clock); };
  const auto what = [&] { return absl::StrCat("the answers to step ", clock - 1); };
  TESSERA_RETURN_IF_ERROR(WaitUntil(done, what, deadline));
  Clock furthest = clock;
  for (const Block& block : blocks_[static_cast<size_t>(group)]) {
    for (const Dropped& dropped : block.dropped) {
      if (dropped.clock == clock) furthest = std::max(furthest, dropped.round);
    }
  }
  return furthest;
}

bool PulledWeights::WasDropped(int group, Clock clock) const {
  const auto is_dropped = [clock](const Dropped& dropped) { return dropped.clock == clock; };
  MutexLock lock(&mutex_);
  const std::vector<Block>& blocks = blocks_[static_cast<size_t>(group)];
  return std::any_of(blocks.begin(), blocks.end(), [&](const Block& block) {
    return std::any_of(block.dropped.begin(), block.dropped.end(), is_dropped);
  });
}

bool PulledWeights::IsComplete(int group, int block, Clock clock) const {
  const Generation& generation =
      blocks_[static_cast<size_t>(group)][static_cast<size_t>(block)].generations[clock & 1];
  return std::all_of(generation.clocks.begin(), generation.clocks.end(),
                     [clock](Clock at) { return at == clock; });
}

bool PulledWeights::IsBlockAnswered(const Block& block, Clock clock) const {
  for (size_t shard = 0; shard < block.dropped.size(); ++shard) {
    const bool came = block.generations[clock & 1].clocks[shard] == clock;
    if (!came && block.dropped[shard].clock != clock) return false;
  }
  return true;
}

bool PulledWeights::IsAnswered(int group, Clock clock) const {
  const std::vector<Block>& blocks = blocks_[static_cast<size_t>(group)];
  return std::all_of(blocks.begin(), blocks.end(), [&](const Block& block) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return IsBlockAnswered(block, clock);
  });
}

template <typename Done, typename What>
absl::Status PulledWeights::WaitUntil(Done done, What what, absl::Time deadline) {
  while (failure_.ok() && !done()) {
    const absl::Duration left = deadline - absl::Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError(absl::StrCat(what(), " did not come in time"));
    }
    arrived_.WaitWithTimeout(&mutex_, std::min(left, kLongestWait));
  }
  return failure_;
}

bool PulledWeights::Has(int group, ShardId shard_id, Clock clock) const {
  const Shard& shard = layout_.shards()[static_cast<size_t>(shard_id)];
  MutexLock lock(&mutex_);
  return blocks_[static_cast<size_t>(group)][static_cast<size_t>(shard.block)]
             .generations[clock & 1]
             .clocks[IndexInBlock(shard)] == clock;
}

Version PulledWeights::version(int group, ShardId shard_id, Clock clock) const {
  const Shard& shard = layout_.shards()[static_cast<size_t>(shard_id)];
  MutexLock lock(&mutex_);
  return blocks_[static_cast<size_t>(group)][static_cast<size_t>(shard.block)]
      .generations[clock & 1]
      .versions[IndexInBlock(shard)];
}

void PulledWeights::DropAll() {
  std::vector<std::vector<Owner>> dropped;  // outside the lock
  MutexLock lock(&mutex_);
  for (std::vector<Block>& blocks : blocks_) {
    for (Block& block : blocks) {
      block.expected = kNoClock;
      for (Generation& generation : block.generations) {
        dropped.push_back(BeginLocked(&generation, kNoClock));
        std::fill(generation.clocks.begin(), generation.clocks.end(), kNoClock);
      }
    }
  }
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
