#include "server/map_adopter.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checkpoint/checkpoint_folder.h"
#include "common/rpc/cluster_map.h"
#include "common/status.h"
#include "common/text.h"
#include "config/checkpoint_interval.h"
#include "server/checkpoint_writer.h"

namespace tessera {
namespace {

// The replicas of each worker that has any: contiguous, in order (AssignReplicas).
std::vector<ReplicaRange> UnitsOf(const wire::ClusterMap& map) {
  std::vector<ReplicaRange> units;
  for (const wire::WorkerEntry& entry : map.workers()) {
    if (entry.replicas().empty()) continue;
    units.push_back({*entry.replicas().begin(), *entry.replicas().rbegin()});
  }
  return units;
}

std::vector<CheckpointFileInfo> FilesOf(const wire::Restore& restore) {
  std::vector<CheckpointFileInfo> files;
  for (const wire::CheckpointFile& file : restore.files())
    files.push_back({file.name(), file.bytes(), file.sha256(), {file.shards().begin(), file.shards().end()}});
  return files;
}

// Reads the shards at once, so that each file is verified once, and gives each away once.
absl::StatusOr<std::function<absl::StatusOr<ShardSnapshot>(ShardId)>> ReadRestore(
    const wire::Restore& restore, const ShardLayout& layout, const std::vector<ShardId>& held) {
  TESSERA_ASSIGN_OR_RETURN(std::vector<ShardSnapshot> read,
                           ReadCheckpointShards(restore.folder(), FilesOf(restore), layout, held));
  auto shards = std::make_shared<std::map<ShardId, ShardSnapshot>>();
  for (ShardSnapshot& shard : read) shards->emplace(shard.shard, std::move(shard));
  return [shards](ShardId id) -> absl::StatusOr<ShardSnapshot> {
    auto shard = shards->extract(id);
    if (shard.empty()) return absl::InternalError(absl::StrCat("shard ", id, " was not read"));
    return std::move(shard.mapped());
  };
}

}  // namespace

// Takes snapshots to a writer until it is stopped: pushes of a store that nobody works with any more may
// still be on their way. Thread-safe.
class SnapshotSink {
 public:
  explicit SnapshotSink(std::unique_ptr<CheckpointWriter> writer) : writer_(std::move(writer)) {}

  void Add(ShardSnapshot snapshot) {
    MutexLock lock(&mutex_);
    if (writer_ != nullptr) writer_->Add(std::move(snapshot));
  }
  // What comes from now on is `writer`'s: other shards belong together. Parts that are not complete are given
  // up. Waits for what is being written.
  void Replace(std::unique_ptr<CheckpointWriter> writer) {
    MutexLock lock(&mutex_);
    std::swap(writer, writer_);
  }
  // Waits for what is being written.
  void Stop() { Replace(nullptr); }

 private:
  Mutex mutex_;
  std::unique_ptr<CheckpointWriter> writer_ ABSL_GUARDED_BY(mutex_);
};

MapAdopter::MapAdopter(Options options) : options_(std::move(options)) {}

MapAdopter::~MapAdopter() { Stop(); }

void MapAdopter::Stop() {
  if (sink_ != nullptr) sink_->Stop();
  sink_ = nullptr;
}

MapAdopter::Adopted MapAdopter::adopted() const {
  MutexLock lock(&mutex_);
  return adopted_;
}

Clock MapAdopter::SetAdopted(Adopted adopted) {
  MutexLock lock(&mutex_);
  std::swap(adopted_, adopted);
  return asked_;
}

absl::Status MapAdopter::Adopt(const wire::ClusterMap& map) {
  const ServerDuties duties = DutiesFrom(map, options_.node_id);
  if (const std::shared_ptr<ParameterStore> store = StoreToKeep(map, duties))
    return KeepShards(store, map, duties);
  if (Names(map)) return MakeShards(map, duties);
  // Who still takes it for the server that it was (it has joined again) must wait for a map that does not.
  SetAdopted({});
  if (options_.replicator != nullptr) options_.replicator->SetMap(nullptr, map.term(), map.rewind(), {});
  options_.service->Adopt(nullptr, map.term());
  Stop();
  return absl::OkStatus();
}

std::shared_ptr<ParameterStore> MapAdopter::StoreToKeep(const wire::ClusterMap& map,
                                                        const ServerDuties& duties) const {
  const Adopted last = adopted();
  if (last.store == nullptr || last.rewind != map.rewind()) return nullptr;
  // Who holds nothing has nothing to keep: what it gets is copied to it.
  return last.store->held().empty() && duties.primaries.empty() ? nullptr : last.store;
}

bool MapAdopter::Names(const wire::ClusterMap& map) const {
  return std::any_of(map.servers().begin(), map.servers().end(),
                     [this](const wire::ServerEntry& entry) { return entry.node_id() == options_.node_id; });
}

absl::Status MapAdopter::KeepShards(std::shared_ptr<ParameterStore> store, const wire::ClusterMap& map,
                                    const ServerDuties& duties) {
  const std::vector<ShardId> held = store->held();
  if (!std::includes(held.begin(), held.end(), duties.primaries.begin(), duties.primaries.end())) {
    return absl::InternalError(absl::StrCat(
        "the shard map gives shards that this server does not have, without a rewind (", map.rewind(), ")"));
  }
  TESSERA_RETURN_IF_ERROR(store->SetUnits(UnitsOf(map)));
  TESSERA_RETURN_IF_ERROR(store->SetDuties(map.term(), duties.duties));
  if (sink_ != nullptr && saved_ != duties.primaries)
    sink_->Replace(MakeWriter(map, store->layout(), duties.primaries));
  Publish(store, map, duties);
  return absl::OkStatus();
}

absl::Status MapAdopter::MakeShards(const wire::ClusterMap& map, const ServerDuties& duties) {
  SetAdopted({});
  if (options_.replicator != nullptr) options_.replicator->SetMap(nullptr, map.term(), map.rewind(), {});
  options_.service->Adopt(nullptr, map.term());  // the old shards go first: there may be no room for both
  Stop();
  const bool nothing = duties.held.empty() && duties.copies.empty();
  TESSERA_ASSIGN_OR_RETURN(const ShardLayout layout, LayoutFromMap(map));
  TESSERA_ASSIGN_OR_RETURN(const CheckpointHooks hooks, MakeHooks(map, layout, duties));
  TESSERA_ASSIGN_OR_RETURN(
      std::shared_ptr<ParameterStore> store,
      MakeStore(options_.job, layout, map.steps_per_epoch(), UnitsOf(map), duties.held, map.shard_digests(),
                nothing ? VersionMemorySource() : options_.version_memory, hooks,
                {options_.replicator, duties.copies}));
  TESSERA_RETURN_IF_ERROR(store->SetDuties(map.term(), duties.duties));
  const Clock asked = SetAdopted({store, map.rewind()});
  // It is asked for once, maybe when the shards of before were there.
  if (hooks.on_snapshot && asked > map.restore().clock()) SaveAt(asked);
  Publish(store, map, duties);
  return absl::OkStatus();
}

void MapAdopter::Publish(const std::shared_ptr<ParameterStore>& store, const wire::ClusterMap& map,
                         const ServerDuties& duties) {
  options_.service->Adopt(store, map.term(), duties.primary_of);
  if (options_.replicator != nullptr)
    options_.replicator->SetMap(store, map.term(), map.rewind(), duties.peers);
  options_.service->OnOpen();  // what an answer under the last map may have opened meanwhile
}

absl::StatusOr<CheckpointHooks> MapAdopter::MakeHooks(const wire::ClusterMap& map, const ShardLayout& layout,
                                                      const ServerDuties& duties) {
  CheckpointHooks hooks;
  if (map.has_restore() && !duties.held.empty()) {
    TESSERA_ASSIGN_OR_RETURN(hooks.restore, ReadRestore(map.restore(), layout, duties.held));
  }
  if (map.checkpoint_folder().empty() || (duties.held.empty() && duties.copies.empty())) return hooks;
  TESSERA_RETURN_IF_ERROR(CheckProbe(map.checkpoint_folder(), map.checkpoint_probe()));
  sink_ = std::make_shared<SnapshotSink>(MakeWriter(map, layout, duties.primaries));
  hooks.every = CheckpointEverySteps(options_.job, map.steps_per_epoch());
  hooks.on_snapshot = [sink = sink_](ShardSnapshot snapshot) { sink->Add(std::move(snapshot)); };
  return hooks;
}

std::unique_ptr<CheckpointWriter> MapAdopter::MakeWriter(const wire::ClusterMap& map,
                                                         const ShardLayout& layout,
                                                         const std::vector<ShardId>& shards) {
  saved_ = shards;
  if (shards.empty()) return nullptr;
  CheckpointWriterOptions options{.dir = map.checkpoint_folder(),
                                  .server_index = options_.index,
                                  .incarnation = options_.incarnation,
                                  .layout = layout,
                                  .shards = shards,
                                  .groups = GroupsOf(options_.job.train)};
  const auto report = [this, rewind = map.rewind()](Clock clock, absl::StatusOr<CheckpointFileInfo> part) {
    Report(rewind, clock, part);
  };
  return std::make_unique<CheckpointWriter>(std::move(options), report);
}

void MapAdopter::Report(int64_t rewind, Clock clock, const absl::StatusOr<CheckpointFileInfo>& part) const {
  wire::ReportCheckpointRequest request;
  request.set_rewind(rewind);
  request.set_clock(clock);
  if (part.ok()) {
    wire::CheckpointFile* file = request.mutable_file();
    file->set_name(part->name);
    file->set_bytes(part->bytes);
    file->set_sha256(part->sha256);
    file->mutable_shards()->Assign(part->shards.begin(), part->shards.end());
  } else {
    request.set_error(PrintableLine(part.status().message()));
  }
  options_.report(std::move(request));
}

void MapAdopter::SaveAt(Clock clock) {
  Adopted now;
  {
    MutexLock lock(&mutex_);
    asked_ = clock;
    now = adopted_;
  }
  if (now.store == nullptr || now.store->held().empty()) return;
  const absl::Status asked = now.store->SnapshotAt(VersionAt(clock, options_.job.train));
  if (!asked.ok()) Report(now.rewind, clock, asked);
}

void MapAdopter::FillProgress(wire::HeartbeatRequest* request) const {
  if (options_.replicator != nullptr) {
    const std::vector<NodeId> silent = options_.replicator->silent();
    request->mutable_silent()->Assign(silent.begin(), silent.end());
  }
  const Adopted now = adopted();
  if (now.store == nullptr || now.rewind != request->rewind()) return;
  if (options_.replicator != nullptr) {
    for (const auto& [shard, node] : options_.replicator->copied()) {
      wire::CopiedShard* copied = request->add_copied();
      copied->set_shard(shard);
      copied->set_node_id(node);
    }
  }
  const StalenessStats staleness = now.store->staleness();
  wire::ServerProgress* progress = request->mutable_server();
  progress->set_staleness_pushes(staleness.pushes);
  progress->set_staleness_sum(staleness.sum);
  progress->set_staleness_max(staleness.max);
  progress->set_clock_lead_max(staleness.clock_lead_max);
  const std::vector<ClockRange> clocks = now.store->NextClocks();
  const auto slower = [](const ClockRange& a, const ClockRange& b) { return a.first < b.first; };
  const auto slowest = std::min_element(clocks.begin(), clocks.end(), slower);
  if (slowest != clocks.end()) request->set_min_clock(slowest->first);
  request->set_newest_version(now.store->NewestVersion());
}

}  // namespace tessera
