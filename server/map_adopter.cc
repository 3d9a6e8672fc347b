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
  // Waits for what is being written.
  void Stop() {
    std::unique_ptr<CheckpointWriter> writer;
    MutexLock lock(&mutex_);
    std::swap(writer, writer_);
  }

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

std::vector<ShardId> MapAdopter::ShardsOf(const wire::ClusterMap& map) const {
  for (const wire::ServerEntry& entry : map.servers()) {
    if (entry.node_id() == options_.node_id) return {entry.shards().begin(), entry.shards().end()};
  }
  return {};
}

absl::Status MapAdopter::Adopt(const wire::ClusterMap& map) {
  {
    const Adopted last = adopted();
    if (last.store != nullptr && last.rewind == map.rewind()) return KeepShards(last.store, map);
  }
  if (Names(map)) return MakeShards(map, ShardsOf(map));
  // Who still takes it for the server that it was (it has joined again) must wait for a map that does not.
  SetAdopted({});
  options_.service->Adopt(nullptr, map.term());
  Stop();
  return absl::OkStatus();
}

bool MapAdopter::Names(const wire::ClusterMap& map) const {
  return std::any_of(map.servers().begin(), map.servers().end(),
                     [this](const wire::ServerEntry& entry) { return entry.node_id() == options_.node_id; });
}

absl::Status MapAdopter::KeepShards(std::shared_ptr<ParameterStore> store, const wire::ClusterMap& map) {
  std::vector<ShardId> given = ShardsOf(map);
  std::sort(given.begin(), given.end());
  if (given != store->held()) {
    return absl::InternalError(
        absl::StrCat("the shard map gives other shards than before, without a rewind (", map.rewind(), ")"));
  }
  TESSERA_RETURN_IF_ERROR(store->SetUnits(UnitsOf(map)));
  options_.service->Adopt(std::move(store), map.term());
  return absl::OkStatus();
}

absl::Status MapAdopter::MakeShards(const wire::ClusterMap& map, const std::vector<ShardId>& held) {
  SetAdopted({});
  options_.service->Adopt(nullptr, map.term());  // the old shards go first: there may be no room for both
  Stop();
  TESSERA_ASSIGN_OR_RETURN(const ShardLayout layout, LayoutFromMap(map));
  TESSERA_ASSIGN_OR_RETURN(const CheckpointHooks hooks, MakeHooks(map, layout, held));
  TESSERA_ASSIGN_OR_RETURN(
      std::shared_ptr<ParameterStore> store,
      MakeStore(options_.job, layout, map.steps_per_epoch(), UnitsOf(map), held, map.shard_digests(),
                held.empty() ? VersionMemorySource() : options_.version_memory, hooks));
  const Clock asked = SetAdopted({store, map.rewind()});
  // It is asked for once, maybe when the shards of before were there.
  if (hooks.on_snapshot && asked > map.restore().clock()) SaveAt(asked);
  options_.service->Adopt(std::move(store), map.term());
  return absl::OkStatus();
}

absl::StatusOr<CheckpointHooks> MapAdopter::MakeHooks(const wire::ClusterMap& map, const ShardLayout& layout,
                                                      const std::vector<ShardId>& held) {
  CheckpointHooks hooks;
  if (held.empty()) return hooks;
  if (map.has_restore()) {
    TESSERA_ASSIGN_OR_RETURN(hooks.restore, ReadRestore(map.restore(), layout, held));
  }
  if (map.checkpoint_folder().empty()) return hooks;
  TESSERA_RETURN_IF_ERROR(CheckProbe(map.checkpoint_folder(), map.checkpoint_probe()));
  CheckpointWriterOptions options{.dir = map.checkpoint_folder(),
                                  .server_index = options_.index,
                                  .incarnation = options_.incarnation,
                                  .layout = layout,
                                  .shards = held,
                                  .groups = GroupsOf(options_.job.train)};
  const auto report = [this, rewind = map.rewind()](Clock clock, absl::StatusOr<CheckpointFileInfo> part) {
    Report(rewind, clock, part);
  };
  sink_ = std::make_shared<SnapshotSink>(std::make_unique<CheckpointWriter>(std::move(options), report));
  hooks.every = CheckpointEverySteps(options_.job, map.steps_per_epoch());
  hooks.on_snapshot = [sink = sink_](ShardSnapshot snapshot) { sink->Add(std::move(snapshot)); };
  return hooks;
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
  const Adopted now = adopted();
  if (now.store == nullptr || now.rewind != request->rewind()) return;
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
}

}  // namespace tessera
