#include "server/server_duties.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

using Ids = google::protobuf::RepeatedField<int32_t>;

// Ascending, each once.
std::vector<ShardId> Sorted(const Ids& ids) {
  std::vector<ShardId> sorted;
  std::copy_if(ids.begin(), ids.end(), std::back_inserter(sorted), [](int32_t id) { return id >= 0; });
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::unique(sorted.begin(), sorted.end()), sorted.end());
  return sorted;
}

std::vector<ShardId> Common(const std::vector<ShardId>& a, const std::vector<ShardId>& b) {
  std::vector<ShardId> common;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(common));
  return common;
}

void AddOwn(const wire::ServerEntry& entry, ServerDuties* duties) {
  duties->primaries = Sorted(entry.shards());
  duties->copies = Sorted(entry.copies());
  const std::vector<ShardId> backups = Sorted(entry.backups());
  std::set_union(duties->primaries.begin(), duties->primaries.end(), backups.begin(), backups.end(),
                 std::back_inserter(duties->held));
  for (const ShardId shard : duties->copies) duties->duties[shard].role = ShardRole::kBackup;
  for (const ShardId shard : backups) duties->duties[shard].role = ShardRole::kBackup;
  for (const ShardId shard : duties->primaries) duties->duties[shard].role = ShardRole::kPrimary;
}

void AddPeer(const wire::ServerEntry& entry, ServerDuties* duties) {
  BackupPeer peer{.node_id = entry.node_id(),
                  .name = absl::StrCat("server ", entry.index(), " (", entry.address(), ")"),
                  .address = entry.address(),
                  .backups = Common(duties->primaries, Sorted(entry.backups())),
                  .joining = Common(duties->primaries, Sorted(entry.copies()))};
  for (const ShardId shard : peer.backups) duties->duties[shard].backups.push_back(peer.node_id);
  for (const ShardId shard : peer.joining) duties->duties[shard].joining.push_back(peer.node_id);
  if (!peer.backups.empty() || !peer.joining.empty()) duties->peers.push_back(std::move(peer));
}

}  // namespace

ServerDuties DutiesFrom(const wire::ClusterMap& map, NodeId node) {
  ServerDuties duties;
  for (const wire::ServerEntry& entry : map.servers()) {
    if (entry.node_id() == node) AddOwn(entry, &duties);
    for (const ShardId shard : Sorted(entry.shards())) {
      const auto size = std::max(duties.primary_of.size(), static_cast<size_t>(shard) + 1);
      duties.primary_of.resize(size, ServerDuties::kNobody);
      duties.primary_of[static_cast<size_t>(shard)] = entry.node_id();
    }
  }
  for (const wire::ServerEntry& entry : map.servers()) {
    if (entry.node_id() != node) AddPeer(entry, &duties);
  }
  return duties;
}

}  // namespace tessera
