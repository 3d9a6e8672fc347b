// From one map to the next, and what becomes of nodes that go.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "coordinator/cluster_plan.h"
#include "coordinator/event_text.h"
#include "coordinator/job_state.h"

namespace tessera {
namespace {

// "replica 3", "replicas 2, 3".
std::string ReplicaNames(const std::vector<ReplicaId>& replicas) {
  return absl::StrCat(replicas.size() == 1 ? "replica " : "replicas ", absl::StrJoin(replicas, ", "));
}

}  // namespace

void JobState::AdvanceMap(absl::Time now) {
  if (over()) return;
  const auto change = planner_.Advance(membership_, phase() != JobPhase::kFinishing, now);
  if (change.has_value()) {
    OnMap(*change, now);
  } else if (planner_.plan().IsQuiet() && AllHaveAdopted(planner_.map(), membership_)) {
    TellMoves(now);
  }
  AgreeOnHandover(now);
  if (planner_.waiting() == waiting_) return;
  waiting_ = planner_.waiting();
  if (!planner_.parked()) return;
  if (!disruption_.has_value()) disruption_ = Disruption{.noticed = now};
  AddEvent({"parked", plan_.job.name, absl::StrCat("training is parked, ", waiting_), now, 0});
}

void JobState::OnMap(const MapPlanner::Change& change, absl::Time now) {
  if (change.first) OnStart(change, now);
  if (change.rewound) OnRewind(change, now);
  if (!change.first && !change.rewound) {
    OnShards(change.before, now);
    OnTakeovers(change.before, now);
  }
  NotePrimaries(/*anew=*/change.first || change.rewound);
  WarnOfFewBackups(now);
  if (disruption_.has_value()) disruption_->step = progress_.MinClock();
  Touch();
  map_change_ = changes_;
}

void JobState::AgreeOnHandover(absl::Time now) {
  if (over() || !planner_.AgreeOnHandover(membership_)) return;
  AddEvent({"handover", plan_.job.name,
            absl::StrCat("from step ", planner_.map().handover(),
                         " on replicas run where the newest map says; who ran them before runs all steps "
                         "before that"),
            now, 0});
  map_change_ = changes_;
}

void JobState::OnStart(const MapPlanner::Change& change, absl::Time now) {
  progress_.Start(now);
  progress_seen_ = now;
  const JobSpec& job = plan_.job;
  log_.Line(absl::StrCat(
      "running: ", Plural(planner_.map().servers_size(), "server"), ", ",
      Plural(planner_.map().workers_size(), "worker"), ", ", Plural(job.train.replicas, "replica"), ", ",
      Plural(plan_.layout.shards().size(), "shard"), ", ",
      Plural(static_cast<size_t>(plan_.total_steps), "step"), " in ", Plural(job.train.epochs, "epoch")));
  WarnOfIdleWorkers(now);
  if (!resuming_) return;
  resuming_ = false;
  resumed_from_ = change.clock;
  progress_.Rewind(change.clock);
  images_before_ = progress_.images();
  AddEvent({"restart", job.name,
            change.clock == 0 ? "resumed without a checkpoint: training begins at the start"
                              : absl::StrCat("resumed from the checkpoint at step ", change.clock, " in ",
                                             planner_.map().restore().folder()),
            now, 0});
}

void JobState::OnRewind(const MapPlanner::Change& change, absl::Time now) {
  moves_ = MoveTally();
  const Clock lost = progress_.Rewind(change.clock);
  counters_.Rewind();
  checkpoints_.Rewind(change.clock, CheckpointLead());
  rates_ = ReplicaRates(plan_.job.train.replicas);
  servers_clock_ = 0;
  recomputed_.Rewind(lost);
  ++rewinds_;
  if (resuming_) resumed_from_ = change.clock;
  resuming_ = false;
  const std::string to = change.clock == 0 ? "the start, for there is no checkpoint"
                                           : absl::StrCat("step ", change.clock, ", the checkpoint in ",
                                                          planner_.map().restore().folder());
  AddEvent({"rewind", plan_.job.name,
            absl::StrCat("training goes back to ", to, "; ", Plural(static_cast<size_t>(lost), "step"),
                         " to be done again by ", Plural(planner_.map().servers_size(), "server"), " and ",
                         Plural(planner_.map().workers_size(), "worker")),
            now, 0});
}

// What a server has saved as a primary it may report when it is none any more.
void JobState::NotePrimaries(bool anew) {
  if (anew) saves_.clear();
  for (const wire::ServerEntry& server : planner_.map().servers()) {
    saves_[server.node_id()].insert(server.shards().begin(), server.shards().end());
  }
}

void JobState::OnShards(const wire::ClusterMap& before, absl::Time now) {
  const std::vector<ShardTakeover> takeovers = TakeoversOf(before, planner_.map(), plan_.layout, membership_);
  if (!takeovers.empty()) checkpoints_.OnTakeover(LargestClock(), CheckpointLead());
  for (const ShardTakeover& takeover : takeovers) {
    const Node* const heir = membership_.Find(takeover.to);
    const Node* const lost = membership_.Find(takeover.from);
    AddEvent({"takeover", heir->Name(),
              absl::StrCat(heir->Describe(), " takes over ", ShardsText(takeover.shards, takeover.bytes),
                           lost == nullptr ? ""
                                           : absl::StrCat(", from ", lost->Name(), ", last heard of ",
                                                          Seconds(now - lost->last_seen), " ago")),
              now, heir->introduction.pid});
  }
  moves_.Add(before, planner_.map(), plan_.layout, membership_, now);
}

void JobState::TellMoves(absl::Time now) {
  const std::optional<std::string> moves = moves_.Take(now);
  if (moves.has_value()) AddEvent({"moved", plan_.job.name, *moves, now, 0});
}

void JobState::WarnOfFewBackups(absl::Time now) {
  const auto wanted = static_cast<size_t>(plan_.job.cluster.server_backups);
  const size_t servers = StayingServers(membership_).size();
  const size_t possible = std::min(wanted, std::max<size_t>(servers, 1) - 1);
  const bool is_news = possible < std::min(possible_backups_, wanted);
  possible_backups_ = possible;
  if (!is_news) return;
  AddEvent({"warning", plan_.job.name,
            absl::StrCat("too few servers: shards have ", possible, " of ", Plural(wanted, "backup"), " on ",
                         Plural(servers, "server"), "; where they have none, the next server lost ",
                         "is a way back to a checkpoint"),
            now, 0});
}

void JobState::OnTakeovers(const wire::ClusterMap& before, absl::Time now) {
  for (const wire::WorkerEntry& worker : planner_.map().workers()) {
    const std::vector<ReplicaId> taken = TakenOver(worker, before);
    const Node* const node = membership_.Find(worker.node_id());
    if (taken.empty() || node == nullptr) continue;
    AddEvent({"takeover", node->Name(), absl::StrCat(node->Describe(), " takes over ", ReplicaNames(taken)),
              now, node->introduction.pid});
  }
}

void JobState::WarnOfIdleWorkers(absl::Time now) {
  constexpr size_t kMostNamed = 8;
  std::vector<std::string> idle;
  for (const wire::WorkerEntry& worker : planner_.map().workers()) {
    if (worker.replicas().empty()) idle.push_back(membership_.Find(worker.node_id())->Describe());
  }
  if (idle.empty()) return;
  // Replicas go to the first workers, so the idle ones are the last.
  const int32_t workers = planner_.map().workers_size();
  const std::string names =
      idle.size() <= kMostNamed
          ? absl::StrJoin(idle, ", ")
          : absl::StrCat("workers ", workers - static_cast<int32_t>(idle.size()), "..", workers - 1);
  AddEvent({"warning", plan_.job.name,
            absl::StrCat("more workers than replicas (train.replicas: ", plan_.job.train.replicas,
                         "); idle: ", names),
            now, 0});
}

bool JobState::IsNeeded(const Node& node) const {
  if (over()) return false;
  // Once training is complete, nothing is needed of workers any more.
  return phase() != JobPhase::kFinishing || node.introduction.role == NodeRole::kServer;
}

void JobState::OnDeath(const Node& node, const std::string& how, absl::Time now) {
  const std::string message = absl::StrCat(node.Describe(), " died: ", how);
  if (over()) {
    log_.Line(absl::StrCat("after the end, ", message));
    return;
  }
  AddEvent({"death", node.Name(), message, now, node.introduction.pid});
  OnGone(node, now);
}

void JobState::OnLeave(const Node& node, absl::Time now) {
  if (IsNeeded(node)) {
    AddEvent({"leave", node.Name(), absl::StrCat(node.Describe(), " left"), now, node.introduction.pid});
  } else {
    log_.Line(absl::StrCat(node.Describe(), " left"));
  }
  OnGone(node, now);
}

void JobState::OnGone(const Node& node, absl::Time now) {
  counters_.Retire(node);
  Touch();
  const bool took_part =
      FindServer(planner_.map(), node.id) != nullptr || FindWorker(planner_.map(), node.id) != nullptr;
  if (!took_part || !IsNeeded(node)) return;
  if (!disruption_.has_value()) disruption_ = Disruption{.noticed = now};
  disruption_->step.reset();
}

}  // namespace tessera
