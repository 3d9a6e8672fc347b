#include "coordinator/cluster_plan.h"

#include <algorithm>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "coordinator/placement.h"

namespace tessera {
namespace {

bool IsAlive(const Membership& members, int32_t id) {
  const Node* const node = members.Find(id);
  return node != nullptr && node->alive();
}

bool HasAdopted(const Membership& members, int32_t id, int64_t term) {
  return IsAlive(members, id) && members.Find(id)->adopted_term == term;
}

std::vector<const Node*> Staying(const Membership& members, NodeRole role) {
  std::vector<const Node*> nodes = members.AliveOf(role);
  std::erase_if(nodes, [](const Node* node) { return node->draining; });
  return nodes;
}

// No server is twice in `map`, or holds a shard in two ways.
bool HoldsInOneWay(const wire::ClusterMap& map, size_t shards) {
  std::set<int32_t> ids;
  return std::all_of(map.servers().begin(), map.servers().end(), [&](const wire::ServerEntry& server) {
    std::set<ShardId> held;
    for (const auto* list : {&server.shards(), &server.backups(), &server.copies()}) {
      for (const ShardId shard : *list) {
        if (shard < 0 || static_cast<size_t>(shard) >= shards || !held.insert(shard).second) return false;
      }
    }
    return ids.insert(server.node_id()).second;
  });
}

// Each of 0..count-1 exactly once over `entries`.
template <typename Entries, typename IdsOf>
bool CoversOnce(const Entries& entries, size_t count, const IdsOf& ids_of) {
  std::vector<bool> seen(count, false);
  size_t covered = 0;
  for (const auto& entry : entries) {
    for (const int32_t id : ids_of(entry)) {
      if (id < 0 || static_cast<size_t>(id) >= count || seen[id]) return false;
      seen[id] = true;
      ++covered;
    }
  }
  return covered == count;
}

}  // namespace

bool IsServerAlive(const Membership& members, int32_t id) {
  return IsAlive(members, id) && members.Find(id)->introduction.role == NodeRole::kServer;
}

bool ServersStand(const wire::ClusterMap& map, const Membership& members) {
  return std::all_of(map.servers().begin(), map.servers().end(), [&](const wire::ServerEntry& server) {
    return IsServerAlive(members, server.node_id());
  });
}

bool WorkersAreSettled(const wire::ClusterMap& map, const Membership& members) {
  const std::vector<const Node*> alive = members.AliveOf(NodeRole::kWorker);
  return std::all_of(alive.begin(), alive.end(), [&map](const Node* node) {
    const bool concerned =
        FindWorker(map, node->id) != nullptr || (node->draining && node->adopted_term != 0);
    return !concerned || node->adopted_term == map.term();
  });
}

std::vector<const Node*> WorkersFor(const wire::ClusterMap& map, const Membership& members) {
  std::vector<const Node*> workers = StayingWorkers(members);
  if (!workers.empty()) return workers;
  workers = members.AliveOf(NodeRole::kWorker);
  std::erase_if(workers, [&map](const Node* node) { return FindWorker(map, node->id) == nullptr; });
  return workers;
}

bool WorkersStand(const wire::ClusterMap& map, const Membership& members) {
  const std::vector<const Node*> wanted = WorkersFor(map, members);
  return std::equal(
      map.workers().begin(), map.workers().end(), wanted.begin(), wanted.end(),
      [](const wire::WorkerEntry& entry, const Node* node) { return entry.node_id() == node->id; });
}

bool RunnersLive(const wire::ClusterMap& map, const Membership& members) {
  return std::all_of(map.workers().begin(), map.workers().end(), [&](const wire::WorkerEntry& worker) {
    return worker.replicas().empty() || IsAlive(members, worker.node_id());
  });
}

bool ServersHaveAdopted(const wire::ClusterMap& map, const Membership& members) {
  return std::all_of(map.servers().begin(), map.servers().end(), [&](const wire::ServerEntry& server) {
    return HasAdopted(members, server.node_id(), map.term());
  });
}

bool AllHaveAdopted(const wire::ClusterMap& map, const Membership& members) {
  return ServersHaveAdopted(map, members) &&
         std::all_of(map.workers().begin(), map.workers().end(), [&](const wire::WorkerEntry& worker) {
           return HasAdopted(members, worker.node_id(), map.term());
         });
}

std::vector<const Node*> StayingServers(const Membership& members) {
  return Staying(members, NodeRole::kServer);
}

std::vector<const Node*> StayingWorkers(const Membership& members) {
  return Staying(members, NodeRole::kWorker);
}

void PlanToMap(const ShardPlan& plan, const ShardLayout& layout, const Membership& members,
               wire::ClusterMap* map) {
  const std::vector<int32_t> planned = plan.servers();
  map->clear_servers();
  std::map<int32_t, wire::ServerEntry*> entries;
  for (const Node* node : members.AliveOf(NodeRole::kServer)) {
    if (!std::binary_search(planned.begin(), planned.end(), node->id)) continue;
    wire::ServerEntry* const entry = map->add_servers();
    entry->set_index(node->index);
    entry->set_node_id(node->id);
    entry->set_address(node->introduction.address);
    entry->set_incarnation(node->introduction.incarnation);
    entries[node->id] = entry;
  }
  TESSERA_CHECK(entries.size() == planned.size());
  for (const Shard& shard : layout.shards()) {
    const ShardPlan::Holders& holders = plan.holders(shard.id);
    entries.at(holders.primary)->add_shards(shard.id);
    for (const int32_t backup : holders.backups) entries.at(backup)->add_backups(shard.id);
    for (const int32_t copy : holders.copies) entries.at(copy)->add_copies(shard.id);
  }
}

std::vector<ShardPlan::Holders> HoldersOf(const wire::ClusterMap& map, const ShardLayout& layout) {
  std::vector<const wire::ServerEntry*> servers;
  for (const wire::ServerEntry& server : map.servers()) servers.push_back(&server);
  std::sort(servers.begin(), servers.end(), [](const wire::ServerEntry* a, const wire::ServerEntry* b) {
    return a->node_id() < b->node_id();
  });
  std::vector<ShardPlan::Holders> holders(layout.shards().size());
  for (const wire::ServerEntry* server : servers) {
    for (const ShardId shard : server->shards()) holders[shard].primary = server->node_id();
    for (const ShardId shard : server->backups()) holders[shard].backups.push_back(server->node_id());
    for (const ShardId shard : server->copies()) holders[shard].copies.push_back(server->node_id());
  }
  return holders;
}

void SpreadOverWorkers(const std::vector<const Node*>& workers, int32_t replicas, wire::ClusterMap* map) {
  const auto blocks = AssignReplicas(replicas, static_cast<int32_t>(workers.size()));
  map->clear_workers();
  for (size_t i = 0; i < workers.size(); ++i) {
    wire::WorkerEntry* const entry = map->add_workers();
    entry->set_index(workers[i]->index);
    entry->set_node_id(workers[i]->id);
    entry->set_incarnation(workers[i]->introduction.incarnation);
    entry->mutable_replicas()->Assign(blocks[i].begin(), blocks[i].end());
  }
}

const wire::ServerEntry* FindServer(const wire::ClusterMap& map, int32_t node_id) {
  for (const wire::ServerEntry& server : map.servers()) {
    if (server.node_id() == node_id) return &server;
  }
  return nullptr;
}

const wire::WorkerEntry* FindWorker(const wire::ClusterMap& map, int32_t node_id) {
  for (const wire::WorkerEntry& worker : map.workers()) {
    if (worker.node_id() == node_id) return &worker;
  }
  return nullptr;
}

bool Runs(const wire::WorkerEntry& worker, ReplicaId replica) {
  return std::binary_search(worker.replicas().begin(), worker.replicas().end(), replica);
}

std::vector<ReplicaId> TakenOver(const wire::WorkerEntry& worker, const wire::ClusterMap& before) {
  const wire::WorkerEntry* const own = FindWorker(before, worker.node_id());
  std::vector<ReplicaId> taken;
  for (const ReplicaId replica : worker.replicas()) {
    if (own == nullptr || !Runs(*own, replica)) taken.push_back(replica);
  }
  return taken;
}

absl::Status CheckMap(const wire::ClusterMap& map, const ShardLayout& layout, int32_t replicas) {
  const auto shards_of = [](const wire::ServerEntry& server) { return server.shards(); };
  const auto replicas_of = [](const wire::WorkerEntry& worker) { return worker.replicas(); };
  const size_t shards = layout.shards().size();
  if (!CoversOnce(map.servers(), shards, shards_of) || !HoldsInOneWay(map, shards)) {
    return absl::DataLossError(absl::StrCat("a map of other shards than the job's ", shards));
  }
  if (!CoversOnce(map.workers(), replicas, replicas_of)) {
    return absl::DataLossError(absl::StrCat("a map of other replicas than the job's ", replicas));
  }
  return absl::OkStatus();
}

}  // namespace tessera
