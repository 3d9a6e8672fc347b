// What heartbeats tell, and how soon the next one is due.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "common/status.h"
#include "coordinator/cluster_plan.h"
#include "coordinator/event_text.h"
#include "coordinator/job_state.h"

namespace tessera {
namespace {

// Of heartbeats, while nodes wait for each other and only for that.
constexpr absl::Duration kWhileChangingOver = absl::Milliseconds(30);
constexpr absl::Duration kWhileMoving = absl::Milliseconds(100);
constexpr absl::Duration kWhileWaiting = absl::Milliseconds(250);

ReplicaReport ReportOf(const wire::ReplicaProgress& progress) {
  return {.replica = progress.replica(),
          .clock = progress.clock(),
          .first_clock = progress.first_clock(),
          .dropped = progress.dropped(),
          .current = {progress.epoch(), progress.loss_sum(), progress.loss_count(), progress.correct()},
          .finished = {progress.last_epoch(), progress.last_loss_sum(), progress.last_loss_count(),
                       progress.last_correct()}};
}

}  // namespace

absl::Status JobState::Heartbeat(const wire::HeartbeatRequest& request, absl::Time now,
                                 wire::HeartbeatReply* reply) {
  TESSERA_RETURN_IF_ERROR(CheckTerm(request));
  const absl::StatusOr<Node*> found = membership_.FindAlive(request.node_id(), request.incarnation());
  if (!found.ok()) {
    if (planner_.OnForeignTerm(request.term(), request.rewind(), /*is_member=*/false)) Touch();
    return found.status();
  }
  Node* const node = *found;
  if (planner_.has_map() && node->id < first_new_id_) resuming_ = false;
  TESSERA_RETURN_IF_ERROR(Annotate(CheckProgress(*node, request), node->Name()));
  RecordTerm(request, node);
  RecordServer(request, node);
  RecordSilence(request, *node, now);
  RecordDrain(request, node, now);
  AgreeOnHandover(now);
  TESSERA_RETURN_IF_ERROR(Annotate(RecordProgress(*node, request, now), node->Name()));
  node->last_seen = now;
  LogEpochs();
  FinishTrainingIfComplete(now);
  if (request.leaving()) {
    membership_.Remove(node->id, Node::State::kLeft);
    OnLeave(*node, now);
  }
  reply->set_phase(ToWire(phase()));
  reply->set_message(Message(now));
  reply->set_term(TermFor(*node));
  reply->set_next_heartbeat_ms(absl::ToInt64Milliseconds(NextHeartbeat(now)));
  if (node->introduction.role == NodeRole::kServer) {
    reply->set_checkpoint_clock(checkpoints_.requested_clock());
  }
  reply->set_may_leave(MayLeave(*node));
  node->knows_end = over();
  return absl::OkStatus();
}

absl::Status JobState::CheckTerm(const wire::HeartbeatRequest& request) const {
  constexpr int64_t kMostRewinds = int64_t{1} << 40;
  if (request.term() >= 0 && (request.term() >> 32) < TermSequence::kMostEpochs && request.rewind() >= 0 &&
      request.rewind() < kMostRewinds) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("reports term ", request.term(), " and rewind ", request.rewind(), ", which cannot be"));
}

void JobState::RecordTerm(const wire::HeartbeatRequest& request, Node* node) {
  if (planner_.OnForeignTerm(request.term(), request.rewind(), /*is_member=*/true)) {
    AddEvent({"warning", node->Name(),
              absl::StrCat(node->Describe(), " works with a newer map than the journal knows of"),
              node->last_seen, node->introduction.pid});
  }
  if (request.term() < node->adopted_term) return;  // late
  node->adopted_term = request.term();
  node->adopted_rewind = request.rewind();
  if (planner_.OnAdopted(*node)) Touch();
}

void JobState::RecordServer(const wire::HeartbeatRequest& request, Node* node) {
  if (node->introduction.role != NodeRole::kServer || request.term() != node->adopted_term) return;
  node->newest_version = request.newest_version();
  for (const wire::CopiedShard& copy : request.copied()) {
    planner_.OnCopied(*node, copy.shard(), copy.node_id());
  }
}

// Who answers us, and not the primary that waits for it, holds training up for as long as it likes.
void JobState::RecordSilence(const wire::HeartbeatRequest& request, const Node& node, absl::Time now) {
  if (node.introduction.role != NodeRole::kServer || over()) return;
  for (const int32_t id : request.silent()) {
    const Node* const silent = membership_.Find(id);
    if (!IsServerAlive(membership_, id) || !planner_.CanDoWithout(id, node, membership_)) continue;
    membership_.Remove(id, Node::State::kDead);
    OnDeath(*silent,
            absl::StrCat("it does not answer ", node.Name(), ", which waits for it, for a lease (",
                         absl::FormatDuration(plan_.job.cluster.lease), ")"),
            now);
  }
}

void JobState::RecordDrain(const wire::HeartbeatRequest& request, Node* node, absl::Time now) {
  if (!request.draining() || node->draining || over()) return;
  node->draining = true;
  const bool has_some =
      FindServer(planner_.map(), node->id) != nullptr || FindWorker(planner_.map(), node->id) != nullptr;
  AddEvent(
      {"drain", node->Name(),
       absl::StrCat(node->Describe(), " is to leave", has_some ? ": what it has goes to others first" : ""),
       now, node->introduction.pid});
}

absl::Duration JobState::NextHeartbeat(absl::Time now) const {
  if (over()) return absl::ZeroDuration();
  if (phase() == JobPhase::kWaiting) return std::min(kWhileWaiting, heartbeat_interval());
  if (IsChangingOver(now)) return kWhileChangingOver;
  // Each copy that completes is another map: shards have too few backups until then.
  return planner_.plan().IsQuiet() ? absl::ZeroDuration() : std::min(kWhileMoving, heartbeat_interval());
}

bool JobState::IsChangingOver(absl::Time now) const {
  if (planner_.parked()) return false;
  if (!planner_.waiting().empty() || !AllHaveAdopted(planner_.map(), membership_)) return true;
  const absl::Duration silence = heartbeat_interval() * 2.5;
  return std::any_of(membership_.nodes().begin(), membership_.nodes().end(), [&](const auto& entry) {
    return entry.second.alive() && now - entry.second.last_seen > silence;
  });
}

absl::Status JobState::CheckProgress(const Node& node, const wire::HeartbeatRequest& request) const {
  if (request.replicas_size() > plan_.job.train.replicas) {
    return absl::InvalidArgumentError(absl::StrCat("reports on ", request.replicas_size(),
                                                   " replicas, the job has ", plan_.job.train.replicas));
  }
  TESSERA_RETURN_IF_ERROR(CheckClocks(request));
  const size_t most_copies =
      plan_.layout.shards().size() * static_cast<size_t>(planner_.map().servers_size());
  if (static_cast<size_t>(request.copied_size()) > most_copies) {
    return absl::InvalidArgumentError(absl::StrCat(
        "reports ", request.copied_size(), " complete copies, more than there are shards and servers"));
  }
  if (request.silent_size() > planner_.map().servers_size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("reports ", request.silent_size(), " silent servers, more than there are"));
  }
  std::vector<ReplicaReport> reports;
  for (const wire::ReplicaProgress& progress : request.replicas()) reports.push_back(ReportOf(progress));
  TESSERA_RETURN_IF_ERROR(progress_.CheckReplicas(reports));
  return WorkCounters::Check(node, request);
}

absl::Status JobState::CheckClocks(const wire::HeartbeatRequest& request) const {
  if (request.min_clock() < 0 || request.min_clock() > plan_.total_steps) {
    return absl::InvalidArgumentError(absl::StrCat("reports a smallest clock of ", request.min_clock()));
  }
  if (request.newest_version() < 0 || request.newest_version() > updates_per_shard()) {
    return absl::InvalidArgumentError(absl::StrCat("reports a version of ", request.newest_version()));
  }
  const auto is_clock = [this](Clock clock) { return clock >= 0 && clock < plan_.total_steps; };
  const auto& recomputed = request.recomputed();
  if (recomputed.size() <= kMostRecomputed && std::all_of(recomputed.begin(), recomputed.end(), is_clock)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("reports ", recomputed.size(), " steps again, of a job that ends at ", plan_.total_steps));
}

absl::Status JobState::RecordProgress(const Node& node, const wire::HeartbeatRequest& request,
                                      absl::Time now) {
  const bool of_this_rewind = request.rewind() == rewind();
  counters_.Record(node, request, of_this_rewind);
  if (!of_this_rewind) return absl::OkStatus();
  servers_clock_ = std::max(servers_clock_, request.min_clock());
  for (const Clock clock : request.recomputed()) recomputed_.Add(clock);
  // What a worker says of replicas that it runs no more is old.
  std::vector<ReplicaReport> reports;
  for (const wire::ReplicaProgress& progress : request.replicas()) {
    if (planner_.MayReport(node, progress.replica(), progress.clock())) reports.push_back(ReportOf(progress));
  }
  const Clock before = progress_.MinClock();
  TESSERA_RETURN_IF_ERROR(progress_.RecordReplicas(reports));
  for (const ReplicaReport& report : reports) {
    rates_.Record(report.replica, progress_.CountedOf(report.replica), now);
  }
  NoticeProgress(before, now);
  return absl::OkStatus();
}

void JobState::NoticeProgress(Clock before, absl::Time now) {
  const Clock step = progress_.MinClock();
  if (step <= before) return;
  const absl::Duration still = now - progress_seen_;
  progress_seen_ = now;
  if (!disruption_.has_value() || !disruption_->step.has_value() || step <= *disruption_->step) return;
  AddEvent(
      {"resumed", plan_.job.name,
       absl::StrCat("training goes on at step ", step, ": recovered ", Seconds(now - disruption_->noticed),
                    " after it was noticed, ", Seconds(still), " without progress"),
       now, 0});
  disruption_.reset();
}

}  // namespace tessera
