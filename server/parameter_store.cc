#include "server/parameter_store.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/initial_weights.h"
#include "common/status.h"
#include "server/statistics_average.h"

namespace tessera {
namespace {

bool IsShard(const ShardLayout& layout, ShardId shard) {
  return shard >= 0 && static_cast<size_t>(shard) < layout.shards().size();
}

SharedTensor InitialWeights(const ShardLayout& layout, ShardId id, uint64_t seed) {
  const Shard& shard = layout.shards()[id];
  const auto weights = std::make_shared<TensorBuffer>(shard.length);
  for (const ShardSegment& segment : layout.Segments(id)) {
    FillInitial(seed, layout.blocks()[shard.block].parameters[segment.parameter], segment.parameter_offset,
                weights->span().subspan(segment.shard_offset, segment.length));
  }
  return weights;
}

// Partial sums of one group's round over all held shards, at worst.
size_t PoolBytes(const ShardLayout& layout, absl::Span<const ShardId> held, int32_t group) {
  size_t bytes = 0;
  for (const ShardId id : held) {
    if (IsShard(layout, id)) bytes += layout.shards()[id].bytes();
  }
  return bytes * ((group + 1) / 2);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterStore>> ParameterStore::Create(ParameterStoreOptions options,
                                                                       ShardLayout layout,
                                                                       absl::Span<const ShardId> held) {
  std::unique_ptr<ParameterStore> store(new ParameterStore(std::move(options), std::move(layout), held));
  TESSERA_ASSIGN_OR_RETURN(const Rules rules, MakeRules(store->options_));
  TESSERA_RETURN_IF_ERROR(store->AddShards(rules));
  return store;
}

ParameterStore::ParameterStore(ParameterStoreOptions options, ShardLayout layout,
                               absl::Span<const ShardId> held)
    : options_(std::move(options)),
      layout_(std::move(layout)),
      held_(held.begin(), held.end()),
      shards_(layout_.shards().size()) {}

ParameterStore::~ParameterStore() { Close(); }

absl::StatusOr<ParameterStore::Rules> ParameterStore::MakeRules(const ParameterStoreOptions& options) {
  if (options.optimizer == nullptr || options.schedule == nullptr) {
    return absl::InvalidArgumentError("parameter store: it needs an optimizer and a schedule");
  }
  const ConsistencyOptions& consistency = options.consistency;
  TESSERA_RETURN_IF_ERROR(ConsistencyPolicy::Create(consistency).status());
  TESSERA_ASSIGN_OR_RETURN(
      std::shared_ptr<const Optimizer> average,
      StatisticsAverage::Create(options.statistics_momentum, consistency.group, consistency.replicas));
  const double part = static_cast<double>(consistency.group) / consistency.replicas;
  return Rules{{options.optimizer, options.schedule, options.linear_lr_scaling ? part : 1},
               {std::move(average), nullptr, 1}};
}

absl::Status ParameterStore::AddShards(const Rules& rules) {
  const auto pool = std::make_shared<BufferPool>(PoolBytes(layout_, held_, options_.consistency.group));
  for (const ShardId id : held_) {
    if (!IsShard(layout_, id) || shards_[id] != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter store: shard ", id, " is unknown or named twice"));
    }
    TESSERA_ASSIGN_OR_RETURN(ConsistencyPolicy policy, ConsistencyPolicy::Create(options_.consistency));
    const ParameterKind kind = layout_.blocks()[layout_.shards()[id].block].kind;
    shards_[id] = std::make_unique<ShardState>(
        layout_.Describe(id), std::move(policy),
        kind == ParameterKind::kStatistic ? rules.statistics : rules.weights,
        InitialWeights(layout_, id, options_.seed), ShardState::Shared{pool, &staleness_});
  }
  return absl::OkStatus();
}

absl::StatusOr<ConsistencyPolicy::Action> ParameterStore::Push(const PushHeader& header,
                                                               const TensorBytes& gradient) {
  TESSERA_ASSIGN_OR_RETURN(ShardState* const shard, Find(header.shard));
  return shard->Push(header, gradient);
}

void ParameterStore::Read(ShardId shard, ReplicaId replica, Clock clock, ReadCallback done) {
  const absl::StatusOr<ShardState*> found = Find(shard);
  if (!found.ok()) return done(found.status());
  (*found)->Read(replica, clock, std::move(done));
}

absl::StatusOr<ShardVersion> ParameterStore::Latest(ShardId shard) const {
  TESSERA_ASSIGN_OR_RETURN(const ShardState* const found, Find(shard));
  return found->Latest();
}

void ParameterStore::Close() {
  for (const auto& shard : shards_) {
    if (shard != nullptr) shard->Close();
  }
}

int64_t ParameterStore::copied_bytes() const {
  int64_t copied = 0;
  for (const ShardId id : held_) copied += shards_[id]->copied_bytes();
  return copied;
}

size_t ParameterStore::parked_reads() const {
  size_t parked = 0;
  for (const ShardId id : held_) parked += shards_[id]->parked_reads();
  return parked;
}

std::pair<Version, Version> ParameterStore::VersionRange() const {
  if (held_.empty()) return {0, 0};
  std::pair<Version, Version> range{std::numeric_limits<Version>::max(), 0};
  for (const ShardId id : held_) {
    const Version version = shards_[id]->Latest().version;
    range = {std::min(range.first, version), std::max(range.second, version)};
  }
  return range;
}

absl::StatusOr<ShardState*> ParameterStore::Find(ShardId shard) const {
  if (IsShard(layout_, shard) && shards_[shard] != nullptr) return shards_[shard].get();
  return absl::NotFoundError(absl::StrCat(
      "shard ", shard, IsShard(layout_, shard) ? absl::StrCat(" (", layout_.Describe(shard), ")") : "",
      " is not held here"));
}

}  // namespace tessera
