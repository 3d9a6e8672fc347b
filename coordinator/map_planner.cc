#include "coordinator/map_planner.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "common/status.h"

namespace tessera {
namespace {

// Who holds nothing does not belong to a map.
void RemoveEmpty(ShardPlan* plan) {
  for (const int32_t server : plan->servers()) {
    if (plan->IsEmpty(server)) plan->Remove(server);
  }
}

}  // namespace

MapPlanner::MapPlanner(const MapPlannerOptions& options, ShardLayout layout, wire::ClusterMap base)
    : options_(options),
      layout_(std::move(layout)),
      base_(std::move(base)),
      plan_(layout_, options.backups),
      restoring_(options.resume) {}

std::optional<MapPlanner::Change> MapPlanner::Advance(const Membership& members, bool training,
                                                      absl::Time now) {
  if (!has_map()) return Start(members);
  if (!go_back_ && !ServersStand(map_, members)) {
    const std::optional<ShardPlan> heirs = WithoutTheDead(members);
    if (heirs.has_value()) {
      ShardPlan next = training ? NextStep(*heirs, members) : *heirs;
      return MakeMap(members, std::move(next), training, /*rewound=*/false);
    }
    go_back_ = true;
  }
  if (go_back_) return GoBack(members, now);
  Park("", false);
  if (!training) return std::nullopt;
  ShardPlan next = MayStep(members, now) ? NextStep(plan_, members) : plan_;
  if (next == plan_ && (WorkersStand(map_, members) || IsHandingOver(members))) return std::nullopt;
  return MakeMap(members, std::move(next), /*spread=*/true, /*rewound=*/false);
}

std::optional<MapPlanner::Change> MapPlanner::Start(const Membership& members) {
  if (!members.complete() || restore_wanted()) return std::nullopt;
  // Those that are to leave do so first.
  if (StayingServers(members).size() < static_cast<size_t>(options_.servers)) return std::nullopt;
  if (static_cast<int32_t>(StayingWorkers(members).size()) < members.Wanted(NodeRole::kWorker)) {
    return std::nullopt;
  }
  return MakeMap(members, NewPlan(members), /*spread=*/true, /*rewound=*/false);
}

ShardPlan MapPlanner::NewPlan(const Membership& members) const {
  ShardPlan plan(layout_, options_.backups);
  for (const Node* node : StayingServers(members)) plan.Add(node->id);
  plan.Place();
  RemoveEmpty(&plan);
  return plan;
}

std::optional<ShardPlan> MapPlanner::WithoutTheDead(const Membership& members) const {
  ShardPlan plan = plan_;
  for (const int32_t server : plan_.servers()) {
    if (IsServerAlive(members, server)) continue;
    if (!plan.Remove(server).lost.empty()) return std::nullopt;
  }
  return plan;
}

bool MapPlanner::MayStep(const Membership& members, absl::Time now) {
  if (!AllHaveAdopted(map_, members)) return false;
  copying_since_ = std::min(copying_since_, now);
  return copied_.size() >= static_cast<size_t>(plan_.CopiesUnderWay()) ||
         now - copying_since_ >= options_.lease;
}

ShardPlan MapPlanner::Wanted(ShardPlan plan, const Membership& members) const {
  const std::vector<const Node*> staying = StayingServers(members);
  for (const int32_t server : plan.servers()) {
    if (members.Find(server)->draining && !staying.empty()) plan.Drain(server);
  }
  for (const Node* node : staying) plan.Add(node->id);
  for (const auto& [shard, server] : copied_) plan.OnCopied(shard, server);
  while (plan.Advance()) {
  }
  return plan;
}

ShardPlan MapPlanner::NextStep(ShardPlan plan, const Membership& members) const {
  plan = Wanted(std::move(plan), members);
  RemoveEmpty(&plan);
  return plan;
}

std::optional<bool> MapPlanner::IsOfUse(const Node& node, const Membership& members) const {
  const ShardPlan plan = Wanted(plan_, members);
  if (!plan.IsEmpty(node.id)) return true;
  if (!plan.IsQuiet()) return std::nullopt;
  return false;
}

void MapPlanner::OnCopied(const Node& node, ShardId shard, int32_t server) {
  if (!has_map() || node.adopted_term != map_.term()) return;
  if (shard < 0 || static_cast<size_t>(shard) >= layout_.shards().size()) return;
  const ShardPlan::Holders& holders = plan_.holders(shard);
  const bool is_copy = std::binary_search(holders.copies.begin(), holders.copies.end(), server);
  if (holders.primary == node.id && is_copy) copied_.emplace(shard, server);
}

bool MapPlanner::OnAdopted(const Node& node) {
  return has_map() && node.adopted_term == map_.term() && plan_.OnAdopted(node.id);
}

bool MapPlanner::IsHandingOver(const Membership& members) const {
  return options_.keeps_step && RunnersLive(map_, members) && !WorkersAreSettled(map_, members);
}

bool MapPlanner::PlaceReplicas(const Membership& members, bool rewound, wire::ClusterMap* next) {
  const std::vector<const Node*> workers = WorkersFor(map_, members);
  if (workers.empty()) return false;
  if (has_map() && !rewound && IsHandingOver(members)) return true;  // in this map too
  const bool agreed = options_.keeps_step && RunnersLive(map_, members);
  handover_open_ = agreed && !WorkersStand(map_, members);
  next->clear_handover();
  SpreadOverWorkers(workers, options_.replicas, next);
  return true;
}

bool MapPlanner::AgreeOnHandover(const Membership& members) {
  // Weights of a newer version than the newest applied one nobody has, and pushes of the term before are
  // refused. But a worker that does not know the map yet may have been waiting for the next one, which those
  // who know it complete, run that minibatch too, and wait for what follows: kHandoverLead.
  if (!handover_open_ || !ServersHaveAdopted(map_, members)) return false;
  Version newest = 0;
  for (const wire::ServerEntry& server : map_.servers()) {
    newest = std::max(newest, members.Find(server.node_id())->newest_version);
  }
  map_.set_handover(std::min(newest + kHandoverLead, options_.total_steps));
  handover_open_ = false;
  return true;
}

bool MapPlanner::MayReport(const Node& node, ReplicaId replica, Clock clock) const {
  const wire::WorkerEntry* const worker = FindWorker(map_, node.id);
  return (worker != nullptr && Runs(*worker, replica)) || (map_.handover() > 0 && clock <= map_.handover());
}

bool MapPlanner::CanDoWithout(int32_t server, const Node& primary, const Membership& members) const {
  const auto waits = [&](const Shard& shard) {
    const ShardPlan::Holders& holders = plan_.holders(shard.id);
    return holders.primary == primary.id &&
           std::binary_search(holders.backups.begin(), holders.backups.end(), server);
  };
  if (!has_map() || go_back_ || std::none_of(layout_.shards().begin(), layout_.shards().end(), waits))
    return false;
  std::optional<ShardPlan> rest = WithoutTheDead(members);
  return rest.has_value() && rest->Remove(server).lost.empty();
}

bool MapPlanner::MayLeave(const Node& node, const Membership& members) const {
  if (node.introduction.role == NodeRole::kWorker) {
    const bool is_done = node.adopted_term == 0 || node.adopted_term == map_.term();
    return GoesBack(members) || StayingWorkers(members).empty() ||
           (FindWorker(map_, node.id) == nullptr && is_done);
  }
  return FindServer(map_, node.id) == nullptr || StayingServers(members).empty();
}

bool MapPlanner::GoesBack(const Membership& members) const {
  return go_back_ || (!ServersStand(map_, members) && !WithoutTheDead(members).has_value());
}

std::optional<MapPlanner::Change> MapPlanner::GoBack(const Membership& members, absl::Time now) {
  go_back_ = true;
  restoring_ = true;
  const auto servers = static_cast<int32_t>(StayingServers(members).size());
  if (servers == 0) {
    wait_from_ = absl::InfiniteFuture();
    Park("waiting for a server", true);
    return std::nullopt;
  }
  wait_from_ = std::min(wait_from_, now);
  if (servers < options_.servers && now - wait_from_ < options_.lease) {
    Park(absl::StrCat("waiting for ", options_.servers - servers, " of ", options_.servers, " servers"),
         false);
    return std::nullopt;
  }
  if (restore_wanted()) {
    Park("waiting for the newest checkpoint to be found", false);
    return std::nullopt;
  }
  return MakeMap(members, NewPlan(members), /*spread=*/true, /*rewound=*/true);
}

std::optional<MapPlanner::Change> MapPlanner::MakeMap(const Membership& members, ShardPlan plan, bool spread,
                                                      bool rewound) {
  Change change{.before = map_, .first = !has_map(), .rewound = rewound};
  wire::ClusterMap next = change.first ? base_ : map_;
  if (spread && !PlaceReplicas(members, rewound, &next)) {
    Park("waiting for a worker", true);
    return std::nullopt;
  }
  next.set_term(terms_.Next());
  PlanToMap(plan, layout_, members, &next);
  if (rewound || change.first) {
    handover_open_ = false;
    next.clear_handover();
    next.clear_restore();
    if (restore_.has_value() && !restore_->folder().empty()) *next.mutable_restore() = *restore_;
    change.clock = next.restore().clock();
    restore_.reset();
    restoring_ = false;
  }
  if (rewound || change.first) next.set_rewind(std::max(map_.rewind() + (rewound ? 1 : 0), least_rewind_));
  map_ = std::move(next);
  plan_ = std::move(plan);
  copied_.clear();
  copying_since_ = absl::InfiniteFuture();
  go_back_ = false;
  wait_from_ = absl::InfiniteFuture();
  Park("", false);
  return change;
}

void MapPlanner::Park(const std::string& waiting, bool parked) {
  waiting_ = waiting;
  parked_ = parked;
}

bool MapPlanner::OnForeignTerm(int64_t term, int64_t rewind, bool is_member) {
  const bool is_beyond = term > terms_.newest();
  if (is_beyond) terms_.GoBeyond(term >> 32);
  // Every term that we ever gave is at most that of our map.
  if (!is_member || term <= map_.term()) return is_beyond;
  const bool is_news = is_beyond || (has_map() && !go_back_) || rewind >= least_rewind_;
  go_back_ = go_back_ || has_map();
  least_rewind_ = std::max(least_rewind_, rewind + 1);
  return is_news;
}

void MapPlanner::ToJournal(wire::JournalState* journal) const {
  journal->set_epoch(terms_.epoch());
  journal->set_n(terms_.n());
  journal->set_rewind(std::max(map_.rewind(), least_rewind_));
  if (!has_map()) return;
  wire::ClusterMap* const map = journal->mutable_map();
  map->set_term(map_.term());
  map->set_rewind(map_.rewind());
  *map->mutable_servers() = map_.servers();
  *map->mutable_workers() = map_.workers();
  map->set_handover(map_.handover());
  journal->set_handover_open(handover_open_);
  if (map_.has_restore()) *map->mutable_restore() = map_.restore();
  for (const Shard& shard : layout_.shards()) {
    const ShardPlan::Holders& holders = plan_.holders(shard.id);
    if (holders.fresh.empty() && holders.successor == ShardPlan::kNobody) continue;
    wire::JournalShard* const out = journal->add_shards();
    out->set_shard(shard.id);
    if (holders.successor != ShardPlan::kNobody) out->set_successor(holders.successor);
    out->mutable_fresh()->Assign(holders.fresh.begin(), holders.fresh.end());
  }
}

absl::Status MapPlanner::FromJournal(const wire::JournalState& journal) {
  if (journal.epoch() < 0 || journal.epoch() >= TermSequence::kMostEpochs || journal.rewind() < 0 ||
      journal.map().term() < 0 || (journal.map().term() >> 32) > journal.epoch() ||
      journal.map().rewind() < 0) {
    return absl::DataLossError(absl::StrCat("epoch ", journal.epoch(), ", term ", journal.map().term()));
  }
  if (journal.has_map()) {
    TESSERA_RETURN_IF_ERROR(CheckMap(journal.map(), layout_, options_.replicas));
    if (journal.map().handover() < 0 || journal.map().handover() > options_.total_steps) {
      return absl::DataLossError(absl::StrCat("a handover at step ", journal.map().handover()));
    }
    map_ = base_;
    map_.MergeFrom(journal.map());
    handover_open_ = journal.handover_open();
    RestorePlan(journal);
  }
  terms_.Set(journal.epoch(), journal.n());
  terms_.GoBeyond(journal.epoch());
  least_rewind_ = journal.rewind();
  restoring_ = !has_map();  // the job may have been resumed from a checkpoint before
  return absl::OkStatus();
}

// What the journal says beyond the map counts as far as it goes with it.
void MapPlanner::RestorePlan(const wire::JournalState& journal) {
  std::vector<ShardPlan::Holders> holders = HoldersOf(map_, layout_);
  for (const wire::JournalShard& more : journal.shards()) {
    if (more.shard() < 0 || static_cast<size_t>(more.shard()) >= holders.size()) continue;
    ShardPlan::Holders& shard = holders[more.shard()];
    const auto is_in = [](const std::vector<int32_t>& servers, int32_t server) {
      return std::binary_search(servers.begin(), servers.end(), server);
    };
    for (const int32_t backup : shard.backups) {
      if (std::count(more.fresh().begin(), more.fresh().end(), backup) > 0) shard.fresh.push_back(backup);
    }
    if (is_in(shard.backups, more.successor()) || is_in(shard.copies, more.successor())) {
      shard.successor = more.successor();
    }
  }
  plan_ = ShardPlan(layout_, options_.backups);
  for (const wire::ServerEntry& server : map_.servers()) plan_.Add(server.node_id());
  for (const Shard& shard : layout_.shards()) plan_.Restore(shard.id, holders[shard.id]);
}

}  // namespace tessera
