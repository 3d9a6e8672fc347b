#include "server/parameter_store.h"

#include <algorithm>
#include <iterator>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/initial_weights.h"
#include "common/status.h"
#include "server/shard_restore.h"
#include "server/statistics_average.h"

namespace tessera {
namespace {

constexpr size_t kIdleShards = 16;
constexpr size_t kVersionAlignment = 64;  // what a version may take beyond its floats
constexpr int32_t kMostReads = 8;  // of replicas with delay compensation: room for more is not laid out ahead

bool IsShard(const ShardLayout& layout, ShardId shard) {
  return shard >= 0 && static_cast<size_t>(shard) < layout.shards().size();
}

absl::StatusOr<SharedTensor> InitialWeights(const ShardLayout& layout, ShardId id,
                                            const ParameterStoreOptions& options,
                                            const VersionBuffers& versions) {
  const Shard& shard = layout.shards()[id];
  const std::shared_ptr<TensorBuffer> weights = versions.Take(0);
  if (options.initial) {
    TESSERA_RETURN_IF_ERROR(options.initial(id, weights->span()));
    return weights;
  }
  for (const ShardSegment& segment : layout.Segments(id)) {
    FillInitial(options.seed, layout.blocks()[shard.block].parameters[segment.parameter],
                segment.parameter_offset, weights->span().subspan(segment.shard_offset, segment.length));
  }
  return weights;
}

absl::StatusOr<ShardStart> Initial(const ShardLayout& layout, ShardId id,
                                   const ParameterStoreOptions& options, const VersionBuffers& versions) {
  TESSERA_ASSIGN_OR_RETURN(ConsistencyPolicy policy, ConsistencyPolicy::Create(options.consistency));
  TESSERA_ASSIGN_OR_RETURN(SharedTensor weights, InitialWeights(layout, id, options, versions));
  return ShardStart{std::move(policy), {0, std::move(weights)}};
}

absl::StatusOr<ShardStart> Restored(const ShardLayout& layout, ShardId id,
                                    const ParameterStoreOptions& options, const VersionBuffers& versions,
                                    ShardUpdater& updater) {
  TESSERA_ASSIGN_OR_RETURN(const ShardSnapshot snapshot, options.restore(id));
  absl::StatusOr<ShardStart> start = StartFrom(snapshot, id, options.consistency, versions, updater);
  if (start.ok()) return start;
  return Annotate(start.status(), absl::StrCat("the snapshot of ", layout.Describe(id)));
}

struct HeldBytes {
  size_t all = 0;
  size_t few = 0;  // of a few shards
};

HeldBytes BytesOf(const ShardLayout& layout, absl::Span<const ShardId> held) {
  size_t all = 0;
  size_t largest = 0;
  for (const ShardId id : held) {
    if (!IsShard(layout, id)) continue;
    const auto bytes = static_cast<size_t>(layout.shards()[id].bytes());
    all += bytes;
    largest = std::max(largest, bytes);
  }
  return {all, std::min(all, kIdleShards * largest)};
}

size_t BytesOf(const ShardLayout& layout) {
  size_t bytes = 0;
  for (const Shard& shard : layout.shards()) bytes += static_cast<size_t>(shard.bytes());
  return bytes;
}

// Reads name their version, and two are kept.
bool HasExactVersions(const ConsistencyOptions& options) {
  return options.group == options.replicas && options.drop_stragglers == 0;
}

// What is worth keeping for the next round; see the header. A group of one leaves no partial sums.
size_t PoolBytes(const ShardLayout& layout, absl::Span<const ShardId> held, int32_t group) {
  const HeldBytes bytes = BytesOf(layout, held);
  return bytes.few + (group == 1 ? 0 : bytes.all * ((group + 1) / 2));
}

absl::Status CheckSaving(const ParameterStoreOptions& options) {
  if (options.checkpoint_every >= 0 && (options.checkpoint_every == 0 || options.on_snapshot)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("parameter store: checkpoint_every is ", options.checkpoint_every,
                   options.on_snapshot ? "" : ", and nobody gets the snapshots"));
}

absl::Status CheckOptimizers(const ParameterStoreOptions& options) {
  if (options.optimizer == nullptr || options.schedule == nullptr) {
    return absl::InvalidArgumentError("parameter store: it needs an optimizer and a schedule");
  }
  if (options.undecayed_optimizer == nullptr) return absl::OkStatus();
  const auto same = [](const OptimizerSlot& a, const OptimizerSlot& b) {
    return a.name == b.name && a.initial == b.initial;
  };
  const std::vector<OptimizerSlot> slots = options.optimizer->slots();
  const std::vector<OptimizerSlot> undecayed = options.undecayed_optimizer->slots();
  if (std::equal(slots.begin(), slots.end(), undecayed.begin(), undecayed.end(), same))
    return absl::OkStatus();
  return absl::InvalidArgumentError("parameter store: its two optimizers have different slots");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterStore>> ParameterStore::Create(ParameterStoreOptions options,
                                                                       ShardLayout layout,
                                                                       absl::Span<const ShardId> held) {
  std::unique_ptr<ParameterStore> store(new ParameterStore(std::move(options), std::move(layout), held));
  TESSERA_ASSIGN_OR_RETURN(store->rules_, MakeRules(store->options_));
  TESSERA_RETURN_IF_ERROR(store->AddShards(held));
  return store;
}

ParameterStore::ParameterStore(ParameterStoreOptions options, ShardLayout layout,
                               absl::Span<const ShardId> held)
    : options_(std::move(options)),
      layout_(std::move(layout)),
      pool_(std::make_shared<BufferPool>(PoolBytes(layout_, held, options_.consistency.group))),
      forwarded_pool_(std::make_shared<BufferPool>(BytesOf(layout_))),
      versions_pool_(options_.version_memory == nullptr
                         ? pool_
                         : std::make_shared<BufferPool>(BytesOf(layout_, held).few, options_.version_memory)),
      places_(layout_.shards().size()) {}

ParameterStore::~ParameterStore() { Close(); }

size_t ParameterStore::VersionBytes(const ParameterStoreOptions& options, const ShardLayout& layout,
                                    absl::Span<const ShardId> held) {
  const ConsistencyOptions& consistency = options.consistency;
  const HeldBytes bytes = BytesOf(layout, held);
  // While rounds are applied and answers are read.
  const size_t in_use = bytes.few + held.size() * kVersionAlignment;
  if (HasExactVersions(consistency)) {
    std::vector<ShardId> known;
    std::copy_if(held.begin(), held.end(), std::back_inserter(known),
                 [&](ShardId id) { return IsShard(layout, id); });
    return VersionBuffers::FrameBytes(layout, known) + in_use;
  }
  if (!options.correction.compensates()) return 3 * bytes.all + in_use;
  return (2 + static_cast<size_t>(std::min(consistency.replicas, kMostReads))) * bytes.all + in_use;
}

absl::StatusOr<ParameterStore::Rules> ParameterStore::MakeRules(const ParameterStoreOptions& options) {
  TESSERA_RETURN_IF_ERROR(CheckOptimizers(options));
  TESSERA_RETURN_IF_ERROR(CheckSaving(options));
  const ConsistencyOptions& consistency = options.consistency;
  TESSERA_RETURN_IF_ERROR(ConsistencyPolicy::Create(consistency).status());
  TESSERA_RETURN_IF_ERROR(CheckStalenessCorrection(options.correction, consistency.group));
  TESSERA_ASSIGN_OR_RETURN(
      std::shared_ptr<const Optimizer> average,
      StatisticsAverage::Create(options.statistics_momentum, consistency.group, consistency.replicas));
  const double part = static_cast<double>(consistency.group) / consistency.replicas;
  Rules rules;
  rules.weights = {.optimizer = options.optimizer,
                   .undecayed = options.undecayed_optimizer,
                   .schedule = options.schedule,
                   .rate_scale = options.linear_lr_scaling ? part : 1,
                   .correction = options.correction};
  rules.statistics.optimizer = std::move(average);
  return rules;
}

absl::Status ParameterStore::AddShards(absl::Span<const ShardId> held) {
  TESSERA_RETURN_IF_ERROR(CheckHeld(held));
  std::vector<VersionBuffers> versions = MakeVersionBuffers(held);
  for (size_t index = 0; index < held.size(); ++index) {
    const ShardId id = held[index];
    ShardUpdater updater = MakeUpdater(id);
    TESSERA_ASSIGN_OR_RETURN(ShardStart start, options_.restore
                                                   ? Restored(layout_, id, options_, versions[index], updater)
                                                   : Initial(layout_, id, options_, versions[index]));
    Put(id, MakeShard(id, std::move(start), std::move(updater), std::move(versions[index])));
  }
  return absl::OkStatus();
}

ShardUpdater ParameterStore::MakeUpdater(ShardId id) const {
  const Shard& shard = layout_.shards()[id];
  const bool statistics = layout_.blocks()[shard.block].kind == ParameterKind::kStatistic;
  return {statistics ? rules_.statistics : rules_.weights, static_cast<size_t>(shard.length),
          UpdateRanges(layout_, id)};
}

std::shared_ptr<ShardState> ParameterStore::MakeShard(ShardId id, ShardStart start, ShardUpdater updater,
                                                      VersionBuffers versions) {
  const ShardState::Shared shared{pool_,
                                  forwarded_pool_,
                                  &staleness_,
                                  options_.checkpoint_every,
                                  options_.on_snapshot,
                                  options_.forwards};
  return std::make_shared<ShardState>(id, layout_.Describe(id), std::move(start), std::move(updater),
                                      std::move(versions), shared);
}

absl::Status ParameterStore::CheckHeld(absl::Span<const ShardId> held) const {
  std::vector<bool> named(layout_.shards().size());
  for (const ShardId id : held) {
    if (IsShard(layout_, id) && !named[id]) {
      named[id] = true;
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat("parameter store: shard ", id, " is unknown or named twice"));
  }
  return absl::OkStatus();
}

std::vector<VersionBuffers> ParameterStore::MakeVersionBuffers(absl::Span<const ShardId> held) const {
  if (options_.version_memory != nullptr && HasExactVersions(options_.consistency)) {
    return VersionBuffers::Adjoining(layout_, held, versions_pool_);
  }
  std::vector<VersionBuffers> buffers;
  for (const ShardId id : held)
    buffers.emplace_back(static_cast<size_t>(layout_.shards()[id].length), versions_pool_);
  return buffers;
}

absl::StatusOr<ConsistencyPolicy::Action> ParameterStore::Push(const PushHeader& header,
                                                               const TensorBytes& gradient,
                                                               TraceTrack trace) {
  TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<ShardState> shard, Find(header.shard));
  return shard->Push(header, gradient, trace);
}

absl::StatusOr<PushState> ParameterStore::Probe(const PushHeader& header) const {
  TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<ShardState> shard, Find(header.shard));
  return shard->Probe(header);
}

bool ParameterStore::Read(ShardId shard, ReplicaId replica, Clock clock, ReadCallback done, ReadRule rule,
                          ReaderId reader) {
  const absl::StatusOr<std::shared_ptr<ShardState>> found = Find(shard);
  if (found.ok()) return (*found)->Read(replica, clock, std::move(done), rule, reader);
  done(found.status());
  return false;
}

void ParameterStore::CancelReads(ReaderId reader) {
  for (const auto& shard : All()) shard->CancelReads(reader);
}

absl::StatusOr<ShardVersion> ParameterStore::Latest(ShardId shard) const {
  TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<ShardState> found, Find(shard));
  return found->Latest();
}

absl::Status ParameterStore::SnapshotAt(Version version) {
  if (version <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("shards are to be saved at version ", version, ", not after 0"));
  }
  if (!options_.on_snapshot) return absl::FailedPreconditionError("nobody here gets snapshots");
  for (const auto& shard : Primaries()) TESSERA_RETURN_IF_ERROR(shard->SnapshotAt(version));
  return absl::OkStatus();
}

absl::Status ParameterStore::SetUnits(const std::vector<ReplicaRange>& units) {
  // All shards have the same options: the first refuses what any would.
  for (const auto& shard : All()) TESSERA_RETURN_IF_ERROR(shard->SetUnits(units));
  return absl::OkStatus();
}

void ParameterStore::Close() {
  for (const auto& shard : All()) shard->Close();
}

int64_t ParameterStore::copied_bytes() const {
  int64_t copied = 0;
  for (const auto& shard : All()) copied += shard->copied_bytes();
  return copied;
}

size_t ParameterStore::parked_reads() const {
  size_t parked = 0;
  for (const auto& shard : All()) parked += shard->parked_reads();
  return parked;
}

std::vector<std::pair<int64_t, int64_t>> ParameterStore::AppliedRange() const {
  std::vector<std::pair<int64_t, int64_t>> ranges;
  for (const auto& shard : Primaries()) {
    const std::vector<int64_t> applied = shard->applied();
    ranges.resize(applied.size(), {std::numeric_limits<int64_t>::max(), 0});
    for (size_t replica = 0; replica < applied.size(); ++replica) {
      auto& [min, max] = ranges[replica];
      min = std::min(min, applied[replica]);
      max = std::max(max, applied[replica]);
    }
  }
  return ranges;
}

std::vector<ClockRange> ParameterStore::NextClocks() const {
  std::vector<ClockRange> ranges;
  for (const auto& shard : Primaries()) {
    const std::vector<Clock> clocks = shard->next_clocks();
    ranges.resize(clocks.size(), {std::numeric_limits<Clock>::max(), 0});
    for (size_t replica = 0; replica < clocks.size(); ++replica) {
      ClockRange& range = ranges[replica];
      range = {std::min(range.first, clocks[replica]), std::max(range.last, clocks[replica])};
    }
  }
  return ranges;
}

int64_t ParameterStore::dropped() const {
  int64_t dropped = 0;
  for (const auto& shard : Primaries()) dropped += shard->dropped();
  return dropped;
}

Version ParameterStore::NewestVersion() const {
  Version newest = 0;
  for (const auto& shard : Primaries()) newest = std::max(newest, shard->mark().version);
  return newest;
}

std::pair<Version, Version> ParameterStore::VersionRange() const {
  const Shards primaries = Primaries();
  if (primaries.empty()) return {0, 0};
  std::pair<Version, Version> range{std::numeric_limits<Version>::max(), 0};
  for (const auto& shard : primaries) {
    const Version version = shard->released();
    range = {std::min(range.first, version), std::max(range.second, version)};
  }
  return range;
}

absl::Status ParameterStore::SetDuties(int64_t term, const std::map<ShardId, ShardDuty>& duties) {
  MutexLock lock(&duties_mutex_);
  TESSERA_RETURN_IF_ERROR(CheckDuties(duties));
  term_ = term;
  backups_.clear();
  for (const auto& [id, duty] : duties) {
    if (duty.role == ShardRole::kBackup) backups_.insert(id);
  }
  for (const Shard& shard : layout_.shards()) {
    const std::shared_ptr<ShardState> held = At(shard.id);
    if (held == nullptr) continue;
    const auto duty = duties.find(shard.id);
    if (duty != duties.end()) {
      held->SetDuty(term, duty->second);
    } else {
      Put(shard.id, nullptr);
      held->Close();
    }
  }
  return absl::OkStatus();
}

absl::Status ParameterStore::CheckDuties(const std::map<ShardId, ShardDuty>& duties) const {
  for (const auto& [id, duty] : duties) {
    if (!IsShard(layout_, id)) return absl::InvalidArgumentError(absl::StrCat("shard ", id, " is unknown"));
    if (duty.role == ShardRole::kBackup) continue;
    if (At(id) == nullptr) {
      return absl::FailedPreconditionError(absl::StrCat("this server is to be the primary of shard ", id,
                                                        " (", layout_.Describe(id),
                                                        "), but does not hold it"));
    }
    if (duty.backups.empty() && duty.joining.empty()) continue;
    if (options_.forwards == nullptr) return absl::FailedPreconditionError("nobody here forwards to backups");
    if (options_.correction.compensates() && options_.correction.adaptive)
      return absl::InvalidArgumentError("dc_adaptive: its mean square is not forwarded to backups");
  }
  return absl::OkStatus();
}

absl::Status ParameterStore::Forward(int64_t term, const ShardForward& forward) {
  const std::shared_ptr<ShardState> shard = At(forward.shard);
  if (shard != nullptr) return shard->Forward(term, forward);
  return absl::FailedPreconditionError(absl::StrCat("shard ", forward.shard, " is not held here"));
}

absl::Status ParameterStore::Install(int64_t term, const ShardCopy& copy) {
  const ShardId id = copy.snapshot.shard;
  if (!IsShard(layout_, id)) return absl::InvalidArgumentError(absl::StrCat("shard ", id, " is unknown"));
  VersionBuffers versions(static_cast<size_t>(layout_.shards()[id].length), versions_pool_);
  ShardUpdater updater = MakeUpdater(id);
  absl::StatusOr<ShardStart> start = StartFrom(copy, id, options_.consistency, versions, updater);
  if (!start.ok()) return Annotate(start.status(), absl::StrCat("the copy of ", layout_.Describe(id)));
  start->told_term = term;
  std::shared_ptr<ShardState> made =
      MakeShard(id, *std::move(start), std::move(updater), std::move(versions));
  MutexLock lock(&duties_mutex_);
  if (term != term_)
    return absl::AbortedError(absl::StrCat("a copy of term ", term, ", but the term is ", term_));
  if (backups_.count(id) == 0)
    return absl::AbortedError(absl::StrCat("a copy of shard ", id, ", which this server is no backup of"));
  if (copy.term < 0 || copy.term > term)
    return absl::InvalidArgumentError(
        absl::StrCat("a copy of term ", term, " of an update of term ", copy.term));
  const std::shared_ptr<ShardState> held = At(id);
  // A late one of a connection that broke.
  if (held != nullptr && held->Follows(term, copy.snapshot.version)) return absl::OkStatus();
  made->SetDuty(term, {.role = ShardRole::kBackup});
  Put(id, std::move(made));
  return absl::OkStatus();
}

ShardMark ParameterStore::Mark(ShardId shard) const {
  const std::shared_ptr<ShardState> held = At(shard);
  return held == nullptr ? ShardMark() : held->mark();
}

absl::Status ParameterStore::Copy(ShardId shard, const std::function<void(ShardCopy)>& take) const {
  TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<ShardState> found, Find(shard));
  return found->Copy(take);
}

absl::Status ParameterStore::OnHas(ShardId shard, NodeId node, Version version) {
  TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<ShardState> found, Find(shard));
  return found->OnHas(node, version);
}

absl::StatusOr<bool> ParameterStore::Join(ShardId shard, NodeId node, Version version) {
  TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<ShardState> found, Find(shard));
  return found->Join(node, version);
}

bool ParameterStore::open() const {
  const Shards primaries = Primaries();
  return std::all_of(primaries.begin(), primaries.end(), [](const auto& shard) { return shard->open(); });
}

std::vector<ShardId> ParameterStore::held() const {
  std::vector<ShardId> held;
  for (const Shard& shard : layout_.shards()) {
    if (At(shard.id) != nullptr) held.push_back(shard.id);
  }
  return held;
}

std::vector<ShardId> ParameterStore::primaries() const {
  std::vector<ShardId> primaries;
  for (const Shard& shard : layout_.shards()) {
    const std::shared_ptr<ShardState> held = At(shard.id);
    if (held != nullptr && held->role() == ShardRole::kPrimary) primaries.push_back(shard.id);
  }
  return primaries;
}

std::shared_ptr<ShardState> ParameterStore::At(ShardId shard) const {
  if (!IsShard(layout_, shard)) return nullptr;
  const Place& place = places_[shard];
  MutexLock lock(&place.mutex);
  return place.shard;
}

void ParameterStore::Put(ShardId id, std::shared_ptr<ShardState> shard) {
  Place& place = places_[id];
  MutexLock lock(&place.mutex);
  place.given_away = shard == nullptr;
  std::swap(place.shard, shard);
}

absl::StatusOr<std::shared_ptr<ShardState>> ParameterStore::Find(ShardId shard) const {
  std::string description;
  if (IsShard(layout_, shard)) {
    const Place& place = places_[shard];
    MutexLock lock(&place.mutex);
    if (place.shard != nullptr) return place.shard;
    if (place.given_away) return absl::UnavailableError(absl::StrCat("shard ", shard, " was given away"));
    description = absl::StrCat(" (", layout_.Describe(shard), ")");
  }
  return absl::NotFoundError(absl::StrCat("shard ", shard, description, " is not held here"));
}

ParameterStore::Shards ParameterStore::All() const {
  Shards all;
  for (const Shard& shard : layout_.shards()) {
    std::shared_ptr<ShardState> held = At(shard.id);
    if (held != nullptr) all.push_back(std::move(held));
  }
  return all;
}

ParameterStore::Shards ParameterStore::Primaries() const {
  Shards primaries = All();
  std::erase_if(primaries, [](const auto& shard) { return shard->role() != ShardRole::kPrimary; });
  return primaries;
}

}  // namespace tessera
