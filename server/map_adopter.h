// Makes of a server what the newest map says: the shards that it gives the server, from the map's checkpoint
// or the job's first values, and what saves them. Knows neither gRPC nor the coordinator.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/checkpoint/checkpoint_part.h"
#include "common/mutex.h"
#include "common/shard_layout.h"
#include "common/types.h"
#include "config/job_spec.h"
#include "proto/coordinator_service.pb.h"
#include "server/checkpoint_writer.h"
#include "server/parameter_service.h"
#include "server/replicator.h"
#include "server/server_duties.h"
#include "server/store_factory.h"

namespace tessera {

class SnapshotSink;

// Adopt and Stop are called by one thread; all else by any.
class MapAdopter {
 public:
  struct Options {
    JobSpec job;
    int32_t node_id = 0;  // by which the map names this server
    int32_t index = 0;
    std::string incarnation;
    std::shared_ptr<ParameterService> service;
    VersionMemorySource version_memory;  // may be empty
    // A part of a checkpoint that was written, or why there is none; from the writer's thread or SaveAt.
    std::function<void(wire::ReportCheckpointRequest)> report;
    std::shared_ptr<Replicator> replicator;  // its owner starts and closes it; null: shards have no backups
  };

  explicit MapAdopter(Options options);
  ~MapAdopter();

  // Works with `map` from now on, when this returns. Of the rewind of before: the shards go on under its
  // term, in the roles that it gives them (ParameterStore::SetDuties). Of another, or the first one: the old
  // shards are dropped, then those that it gives are made. A map that does not name this server leaves it
  // spare: everything is answered UNAVAILABLE. Errors: kFailedPrecondition, checkpoint_folder is not the
  // coordinator's here, or model.weights is another file; those of ReadCheckpointShards, with the file's
  // name, LayoutFromMap, MakeStore and SetDuties; kInternal, the primary of shards that it does not have,
  // without a rewind.
  absl::Status Adopt(const wire::ClusterMap& map);

  // Every held shard is saved when it comes to `clock`, besides the job's own checkpoints; where one is past
  // it, that is reported as the error of this clock.
  void SaveAt(Clock clock);

  // What the shards show so far, if they are of the request's rewind.
  void FillProgress(wire::HeartbeatRequest* request) const;

  // Saves nothing any more, and reports nothing; waits for what is being written. Idempotent.
  void Stop();

 private:
  // What the shards at present were made by.
  struct Adopted {
    std::shared_ptr<ParameterStore> store;
    int64_t rewind = 0;
  };

  // That goes on under `map`; null: it is to be made.
  std::shared_ptr<ParameterStore> StoreToKeep(const wire::ClusterMap& map, const ServerDuties& duties) const;
  absl::Status KeepShards(std::shared_ptr<ParameterStore> store, const wire::ClusterMap& map,
                          const ServerDuties& duties);
  absl::Status MakeShards(const wire::ClusterMap& map, const ServerDuties& duties);
  // Workers and other servers find `store` under the map from now on.
  void Publish(const std::shared_ptr<ParameterStore>& store, const wire::ClusterMap& map,
               const ServerDuties& duties);
  // From the map's checkpoint, if it has one; and where snapshots go.
  absl::StatusOr<CheckpointHooks> MakeHooks(const wire::ClusterMap& map, const ShardLayout& layout,
                                            const ServerDuties& duties);
  // Saves `shards` together; null for none.
  std::unique_ptr<CheckpointWriter> MakeWriter(const wire::ClusterMap& map, const ShardLayout& layout,
                                               const std::vector<ShardId>& shards);
  // Of `clock`'s part of a checkpoint.
  void Report(int64_t rewind, Clock clock, const absl::StatusOr<CheckpointFileInfo>& part) const;
  bool Names(const wire::ClusterMap& map) const;
  Adopted adopted() const;
  // Returns the last clock that was asked for.
  Clock SetAdopted(Adopted adopted);

  const Options options_;
  // The adopting thread's.
  std::shared_ptr<SnapshotSink> sink_;  // null: nothing is saved
  std::vector<ShardId> saved_;          // together

  mutable Mutex mutex_;
  Adopted adopted_ ABSL_GUARDED_BY(mutex_);
  Clock asked_ ABSL_GUARDED_BY(mutex_) = 0;  // SaveAt's last
};

}  // namespace tessera
