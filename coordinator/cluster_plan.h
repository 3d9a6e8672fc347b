// Who holds which shard and who runs which replica, worked out from who is alive: the next map from the last.
// Pure functions; placement.h has the arithmetic.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/shard_layout.h"
#include "common/types.h"
#include "coordinator/membership.h"
#include "coordinator/shard_plan.h"
#include "proto/coordinator_service.pb.h"

namespace tessera {

bool IsServerAlive(const Membership& members, int32_t id);
// Every server that `map` names is alive: no shard is lost.
bool ServersStand(const wire::ClusterMap& map, const Membership& members);
// The workers that the next map is to name, in order of index: those alive that are not to leave; where there
// are none, of those that `map` names the ones alive, until they leave.
std::vector<const Node*> WorkersFor(const wire::ClusterMap& map, const Membership& members);
// They are the workers that `map` names.
bool WorkersStand(const wire::ClusterMap& map, const Membership& members);
// Every worker that runs a replica in `map` is alive: what it has begun can be ended.
bool RunnersLive(const wire::ClusterMap& map, const Membership& members);
// No worker alive runs what an older map gave it: those that `map` names have adopted it, and those that are
// to leave.
bool WorkersAreSettled(const wire::ClusterMap& map, const Membership& members);
// All servers and workers that `map` names are alive and have adopted its term (or: the servers have).
bool ServersHaveAdopted(const wire::ClusterMap& map, const Membership& members);
bool AllHaveAdopted(const wire::ClusterMap& map, const Membership& members);

// Servers alive that are not to leave, in order of index; likewise workers.
std::vector<const Node*> StayingServers(const Membership& members);
std::vector<const Node*> StayingWorkers(const Membership& members);

// Fills in `map`'s servers: those of `plan`, which is known by node ids, in order of index. All are alive.
void PlanToMap(const ShardPlan& plan, const ShardLayout& layout, const Membership& members,
               wire::ClusterMap* map);
// The plan of a map that is sound (CheckMap): what it says of each shard, nobody fresh.
std::vector<ShardPlan::Holders> HoldersOf(const wire::ClusterMap& map, const ShardLayout& layout);

// Fills in `map`'s workers, at least one: replicas in contiguous blocks in their order.
void SpreadOverWorkers(const std::vector<const Node*>& workers, int32_t replicas, wire::ClusterMap* map);

// Null: `map` does not name that node.
const wire::ServerEntry* FindServer(const wire::ClusterMap& map, int32_t node_id);
const wire::WorkerEntry* FindWorker(const wire::ClusterMap& map, int32_t node_id);
bool Runs(const wire::WorkerEntry& worker, ReplicaId replica);

// Of `worker`'s replicas in `map` those that it did not run in `before`.
std::vector<ReplicaId> TakenOver(const wire::WorkerEntry& worker, const wire::ClusterMap& before);

// A map from a file: every shard has one primary, its backups and copies are on other servers, every replica
// has one worker. Errors: kDataLoss.
absl::Status CheckMap(const wire::ClusterMap& map, const ShardLayout& layout, int32_t replicas);

// Terms: (epoch << 32) + n, each larger than all before.
class TermSequence {
 public:
  static constexpr int64_t kMostEpochs = int64_t{1} << 30;

  int64_t Next() { return (epoch_ << 32) + ++n_; }
  int64_t newest() const { return (epoch_ << 32) + n_; }
  int64_t epoch() const { return epoch_; }
  int64_t n() const { return n_; }
  // Later terms have a larger epoch than `epoch`.
  void GoBeyond(int64_t epoch) {
    epoch_ = epoch + 1;
    n_ = 0;
  }
  void Set(int64_t epoch, int64_t n) {
    epoch_ = epoch;
    n_ = n;
  }

 private:
  int64_t epoch_ = 0;
  int64_t n_ = 0;
};

}  // namespace tessera
