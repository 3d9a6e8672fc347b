#include "coordinator/shard_changes.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "coordinator/cluster_plan.h"

namespace tessera {
namespace {

bool Has(const std::vector<int32_t>& servers, int32_t server) {
  return std::find(servers.begin(), servers.end(), server) != servers.end();
}

}  // namespace

std::vector<ShardTakeover> TakeoversOf(const wire::ClusterMap& before, const wire::ClusterMap& after,
                                       const ShardLayout& layout, const Membership& members) {
  const std::vector<ShardPlan::Holders> was = HoldersOf(before, layout);
  const std::vector<ShardPlan::Holders> is = HoldersOf(after, layout);
  std::map<std::pair<int32_t, int32_t>, ShardTakeover> takeovers;
  for (const Shard& shard : layout.shards()) {
    const int32_t from = was[shard.id].primary;
    const int32_t to = is[shard.id].primary;
    if (from == to || IsServerAlive(members, from)) continue;
    ShardTakeover& takeover = takeovers.try_emplace({from, to}, ShardTakeover{from, to}).first->second;
    ++takeover.shards;
    takeover.bytes += shard.bytes();
  }
  std::vector<ShardTakeover> list;
  for (const auto& [nodes, takeover] : takeovers) list.push_back(takeover);
  return list;
}

void MoveTally::Add(const wire::ClusterMap& before, const wire::ClusterMap& after, const ShardLayout& layout,
                    const Membership& members, absl::Time now) {
  const std::vector<ShardPlan::Holders> was = HoldersOf(before, layout);
  const std::vector<ShardPlan::Holders> is = HoldersOf(after, layout);
  for (const Shard& shard : layout.shards()) {
    const ShardPlan::Holders& old = was[shard.id];
    const ShardPlan::Holders& now_held = is[shard.id];
    if (!since_.has_value() && old != now_held) since_ = now;
    for (const int32_t copy : old.copies) {
      if (!Has(now_held.backups, copy)) continue;
      ++copied_;
      copied_bytes_ += shard.bytes();
    }
    if (old.primary == now_held.primary || !IsServerAlive(members, old.primary)) continue;
    ++moved_;
    moved_bytes_ += shard.bytes();
  }
}

std::optional<std::string> MoveTally::Take(absl::Time now) {
  const MoveTally told = std::exchange(*this, MoveTally());
  std::vector<std::string> parts;
  if (told.copied_ > 0)
    parts.push_back(absl::StrCat("copied ", ShardsText(told.copied_, told.copied_bytes_)));
  if (told.moved_ > 0) {
    parts.push_back(absl::StrCat("gave ", ShardsText(told.moved_, told.moved_bytes_), ", another primary"));
  }
  if (parts.empty()) return std::nullopt;
  return absl::StrFormat("%s, in %.1f s, while training went on", absl::StrJoin(parts, ", and "),
                         absl::ToDoubleSeconds(now - *told.since_));
}

std::string ShardsText(size_t shards, int64_t bytes) {
  constexpr double kKiB = 1 << 10, kMiB = 1 << 20;
  std::string size = absl::StrCat(bytes, " B");
  if (bytes >= 1 << 10) size = absl::StrFormat("%.1f KiB", static_cast<double>(bytes) / kKiB);
  if (bytes >= 1 << 20) size = absl::StrFormat("%.1f MiB", static_cast<double>(bytes) / kMiB);
  return absl::StrCat(shards, shards == 1 ? " shard, " : " shards, ", size);
}

}  // namespace tessera
