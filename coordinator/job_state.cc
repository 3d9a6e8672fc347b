#include "coordinator/job_state.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/protocol.h"
#include "common/rpc/cluster_map.h"
#include "common/status.h"
#include "common/text.h"
#include "config/job_loader.h"
#include "coordinator/cluster_plan.h"
#include "coordinator/job_comparison.h"

namespace tessera {
namespace {

constexpr absl::Duration kWaitingLineEvery = absl::Seconds(5);
// Of heartbeats, while nodes wait for each other and only for that.
constexpr absl::Duration kWhileChangingOver = absl::Milliseconds(30);
constexpr absl::Duration kWhileMoving = absl::Milliseconds(100);
constexpr absl::Duration kWhileWaiting = absl::Milliseconds(250);
// Of steps ahead, for a checkpoint out of turn.
constexpr Clock kLeastLead = 2;
constexpr Clock kMostLead = 1 << 20;

MembershipOptions MembershipOf(const JobSpec& job) {
  return {.servers = job.cluster.servers,
          .workers = job.cluster.workers,
          .lease = job.cluster.lease,
          .same_fingerprint = job.train.deterministic};
}

// All replicas are one group that drops nobody: none begins a minibatch before all have ended the one before.
bool KeepsStep(const JobSpec& job) {
  const ConsistencySpec& consistency = job.train.consistency;
  return consistency.mode == "sync" && consistency.drop_stragglers == 0;
}

MapPlannerOptions PlannerOf(const JobPlan& plan, bool resume) {
  const JobSpec& job = plan.job;
  return {.servers = job.cluster.servers,
          .backups = job.cluster.server_backups,
          .replicas = job.train.replicas,
          .lease = job.cluster.lease,
          .resume = resume,
          .keeps_step = KeepsStep(job),
          .total_steps = plan.total_steps};
}

JobProgressOptions ProgressOf(const JobPlan& plan) {
  return {.replicas = plan.job.train.replicas,
          .batch_size = plan.job.train.batch_size,
          .epochs = plan.job.train.epochs,
          .steps_per_epoch = plan.steps_per_epoch,
          .test_samples = plan.test_samples,
          .may_drop = plan.job.train.consistency.drop_stragglers > 0,
          .repeatable = KeepsStep(plan.job)};
}

// What every map of the job has.
wire::ClusterMap BaseMap(const JobPlan& plan, const JobStateOptions& options) {
  wire::ClusterMap map;
  LayoutToMap(plan.layout, plan.job.cluster.shard_bytes, &map);
  map.set_steps_per_epoch(plan.steps_per_epoch);
  for (const nn::InputSpec& input : plan.graph->inputs()) {
    wire::Input* sent = map.add_inputs();
    sent->set_name(input.name);
    sent->mutable_shape()->Assign(input.shape.begin(), input.shape.end());
  }
  map.set_classes(plan.graph->classes());
  map.set_train_samples(plan.train_samples);
  map.set_test_samples(plan.test_samples);
  map.mutable_shard_digests()->Assign(plan.weights.shard_digests.begin(), plan.weights.shard_digests.end());
  map.set_checkpoint_folder(options.checkpoint_folder);
  map.set_checkpoint_probe(options.checkpoint_probe);
  return map;
}

absl::StatusOr<NodeIntroduction> IntroductionOf(const wire::RegisterRequest& request) {
  if (request.kind() != wire::SERVER && request.kind() != wire::WORKER) {
    return absl::InvalidArgumentError(
        absl::StrCat("a node of unknown kind ", static_cast<int>(request.kind())));
  }
  return NodeIntroduction{.protocol_version = request.protocol_version(),
                          .role = request.kind() == wire::SERVER ? NodeRole::kServer : NodeRole::kWorker,
                          .address = request.address(),
                          .host = request.host(),
                          .pid = request.pid(),
                          .incarnation = request.incarnation(),
                          .fingerprint = request.fingerprint()};
}

ReplicaReport ReportOf(const wire::ReplicaProgress& progress) {
  return {.replica = progress.replica(),
          .clock = progress.clock(),
          .first_clock = progress.first_clock(),
          .dropped = progress.dropped(),
          .current = {progress.epoch(), progress.loss_sum(), progress.loss_count(), progress.correct()},
          .finished = {progress.last_epoch(), progress.last_loss_sum(), progress.last_loss_count(),
                       progress.last_correct()}};
}

std::string Plural(size_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

std::string Seconds(absl::Duration duration) {
  return absl::StrFormat("%.1f s", absl::ToDoubleSeconds(duration));
}

// "replica 3", "replicas 2, 3".
std::string ReplicaNames(const std::vector<ReplicaId>& replicas) {
  return absl::StrCat(replicas.size() == 1 ? "replica " : "replicas ", absl::StrJoin(replicas, ", "));
}

}  // namespace

JobState::JobState(JobPlan plan, absl::Time now, JobStateOptions options)
    : plan_(std::move(plan)),
      options_(std::move(options)),
      job_yaml_(FormatJob(plan_.job)),
      created_(now),
      membership_(MembershipOf(plan_.job)),
      planner_(PlannerOf(plan_, options_.resume), plan_.layout, BaseMap(plan_, options_)),
      progress_(ProgressOf(plan_)),
      checkpoints_({.shards = plan_.layout.shards().size(),
                    .total_steps = plan_.total_steps,
                    .every = options_.checkpoint_every}),
      rates_(plan_.job.train.replicas),
      journaled_(options_.journaled ? 0 : changes_),
      progress_seen_(now),
      resuming_(options_.resume),
      last_tick_(now),
      next_waiting_line_(now + kWaitingLineEvery) {}

absl::Duration JobState::heartbeat_interval() const {
  return std::min(plan_.job.cluster.lease / 3, absl::Milliseconds(500));
}

void JobState::Touch() {
  ++changes_;
  if (!options_.journaled) journaled_ = changes_;
}

void JobState::AddEvent(JobEvent event) {
  log_.Add(std::move(event));
  Touch();
}

absl::Status JobState::AnswerOnceJournaled() const {
  if (IsJournaled(report_change_)) return absl::OkStatus();
  return absl::UnavailableError("it is taken and being journaled; ask again");
}

absl::Status JobState::Register(const wire::RegisterRequest& request, absl::Time now,
                                wire::RegisterReply* reply) {
  TESSERA_ASSIGN_OR_RETURN(const NodeIntroduction introduction, IntroductionOf(request));
  if (over()) return absl::FailedPreconditionError(absl::StrCat("job ", plan_.job.name, " is over"));
  const absl::StatusOr<Membership::Registration> registration = membership_.Register(introduction, now);
  if (!registration.ok()) {
    log_.Line(PrintableLine(absl::StrCat("refused a node: ", registration.status().message())), /*bad=*/true);
    return registration.status();
  }
  const Node& node = *registration->node;
  if (registration->joined) {
    AddEvent({"join", node.Name(), absl::StrCat(node.Describe(), " joined", UseOf(node)), now,
              node.introduction.pid});
    if (!planner_.has_map()) AdvanceMap(now);
  }
  reply->set_node_id(node.id);
  reply->set_index(node.index);
  reply->set_job_yaml(job_yaml_);
  reply->set_lease_ms(absl::ToInt64Milliseconds(plan_.job.cluster.lease));
  reply->set_heartbeat_ms(absl::ToInt64Milliseconds(heartbeat_interval()));
  return absl::OkStatus();
}

// What becomes of a node that has just joined, where that is not plain.
std::string JobState::UseOf(const Node& node) const {
  if (node.introduction.role != NodeRole::kServer || !planner_.has_map() ||
      !ServersStand(planner_.map(), membership_)) {
    return "";
  }
  const std::optional<bool> is_of_use = planner_.IsOfUse(node, membership_);
  if (!is_of_use.has_value()) return "";
  return *is_of_use ? "; shards move onto it" : "; spare, for there is nothing to move onto it";
}

int64_t JobState::TermFor(const Node& node) const {
  return MayAdopt(node) ? planner_.map().term() : node.adopted_term;
}

bool JobState::MayAdopt(const Node& node) const {
  if (!planner_.has_map() || !IsJournaled(map_change_)) return false;
  if (node.introduction.role == NodeRole::kServer) return true;
  return ServersHaveAdopted(planner_.map(), membership_) && !planner_.handover_open();
}

bool JobState::MayLeave(const Node& node) const {
  return node.draining && IsJournaled(map_change_) &&
         (!IsNeeded(node) || planner_.MayLeave(node, membership_));
}

absl::Status JobState::GetClusterMap(const wire::GetClusterMapRequest& request, absl::Time now,
                                     wire::ClusterMap* reply) {
  TESSERA_ASSIGN_OR_RETURN(const Node* node, membership_.FindAlive(request.node_id(), request.incarnation()));
  if (!planner_.has_map()) {
    if (over()) return absl::FailedPreconditionError("the job was over before every node had come");
    return absl::UnavailableError(Message(now));
  }
  if (!MayAdopt(*node)) return absl::UnavailableError("the cluster is changing over to a new map; ask again");
  *reply = planner_.map();
  return absl::OkStatus();
}

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

absl::Status JobState::ReportEvaluation(const wire::ReportEvaluationRequest& request, absl::Time now) {
  TESSERA_ASSIGN_OR_RETURN(const Node* node, membership_.FindAlive(request.node_id(), request.incarnation()));
  if (request.chunks_size() > plan_.test_samples) {
    return absl::InvalidArgumentError(absl::StrCat(node->Name(), " reports ", request.chunks_size(),
                                                   " evaluation chunks of a test set of ",
                                                   plan_.test_samples));
  }
  std::vector<ChunkResult> chunks;
  for (const wire::EvaluationChunk& chunk : request.chunks()) {
    chunks.push_back({chunk.chunk(), chunk.samples(), chunk.correct(), chunk.loss_sum()});
  }
  const absl::StatusOr<bool> news = progress_.RecordEvaluation(request.clock(), chunks);
  if (!news.ok()) return Annotate(news.status(), node->Name());
  if (*news) {
    Touch();
    report_change_ = changes_;
  }
  LogEpochs();
  FinishTrainingIfComplete(now);
  return AnswerOnceJournaled();
}

void JobState::FinishTrainingIfComplete(absl::Time now) {
  if (!progress_.FinishTraining(now)) return;
  disruption_.reset();
  Touch();
  log_.Line(absl::StrFormat("training done in %.1f s; collecting the weights",
                            absl::ToDoubleSeconds(progress_.Elapsed(now))));
}

void JobState::LogEpochs() {
  const std::vector<EpochHistory> epochs = progress_.FinishedEpochs();
  for (; epochs_logged_ < epochs.size(); ++epochs_logged_) {
    const EpochHistory& epoch = epochs[epochs_logged_];
    std::string line =
        absl::StrFormat("epoch %d/%d: loss %.4f", epoch.epoch, plan_.job.train.epochs, epoch.train_loss);
    if (epoch.test.has_value()) {
      absl::StrAppendFormat(&line, ", test loss %.4f, test accuracy %.4f", epoch.test->loss,
                            epoch.test->accuracy);
    }
    log_.Line(std::move(line));
    Touch();
  }
}

bool JobState::SomebodyRuns() const {
  return std::any_of(membership_.nodes().begin(), membership_.nodes().end(),
                     [](const auto& entry) { return entry.second.alive() && entry.second.adopted_term > 0; });
}

absl::Status JobState::ReportFailure(const wire::ReportFailureRequest& request, absl::Time now) {
  TESSERA_ASSIGN_OR_RETURN(const Node* reporter,
                           membership_.FindAlive(request.node_id(), request.incarnation()));
  const std::string message = absl::StrCat(reporter->Describe(), ": ", PrintableLine(request.message()));
  if (over()) {
    log_.Line(absl::StrCat("after the end, ", message));
    return absl::OkStatus();
  }
  const bool works = reporter->adopted_term > 0 && reporter->adopted_rewind == rewind();
  AddEvent({"failure", reporter->Name(), message, now, reporter->introduction.pid});
  if (works || !SomebodyRuns()) {
    progress_.Fail(message, now);
    return absl::OkStatus();
  }
  membership_.Remove(reporter->id, Node::State::kDead);
  OnGone(*reporter, now);
  return absl::OkStatus();
}

absl::Status JobState::ReportExit(const wire::ReportExitRequest& request, absl::Time now) {
  const Node* const node = membership_.FindProcess(request.host(), request.pid());
  if (node == nullptr) return absl::OkStatus();
  membership_.Remove(node->id, Node::State::kDead);
  OnDeath(*node, PrintableLine(request.message()), now);
  return absl::OkStatus();
}

absl::Status JobState::ReportCheckpoint(const wire::ReportCheckpointRequest& request, absl::Time now) {
  TESSERA_ASSIGN_OR_RETURN(const Node* node, membership_.FindAlive(request.node_id(), request.incarnation()));
  const auto saves = saves_.find(node->id);
  if (saves == saves_.end() || request.rewind() != rewind() || planner_.GoesBack(membership_)) {
    return absl::FailedPreconditionError(absl::StrCat(node->Name(), " reports a checkpoint of rewind ",
                                                      request.rewind(), "; the present one is ", rewind(),
                                                      ", or the cluster goes back"));
  }
  if (request.file().name().empty()) {
    FailCheckpoint(*node, request.clock(), request.error(), now);
    return absl::OkStatus();
  }
  const absl::StatusOr<bool> news = checkpoints_.AddPart(
      request.clock(), request.file(), std::vector<ShardId>(saves->second.begin(), saves->second.end()));
  if (absl::IsAborted(news.status())) {
    FailCheckpoint(*node, request.clock(), news.status().message(), now);
    return absl::OkStatus();
  }
  if (!news.ok()) return Annotate(news.status(), node->Name());
  if (*news) {
    Touch();
    report_change_ = changes_;
  }
  return AnswerOnceJournaled();
}

void JobState::FailCheckpoint(const Node& node, Clock clock, absl::string_view why, absl::Time now) {
  if (!checkpoints_.AddFailure(clock, LargestClock(), CheckpointLead())) return;
  AddEvent(
      {"checkpoint failed", node.Name(),
       absl::StrCat("the checkpoint at step ", clock, " failed: ", node.Name(), ": ", PrintableLine(why)),
       now, node.introduction.pid});
}

absl::Status JobState::TakeCheckpoint(wire::TakeCheckpointReply* reply) {
  if (phase() != JobPhase::kRunning || !planner_.waiting().empty()) {
    return absl::FailedPreconditionError("no checkpoint can be taken: the job does not run");
  }
  TESSERA_ASSIGN_OR_RETURN(const Clock clock, checkpoints_.Request(LargestClock(), CheckpointLead()));
  reply->set_clock(clock);
  return absl::OkStatus();
}

Clock JobState::LargestClock() const { return std::max(progress_.MaxClock(), servers_clock_); }

// So far ahead that servers hear of it before they are there: what is known is up to a heartbeat old, and it
// takes up to another one to tell them.
Clock JobState::CheckpointLead() const {
  double fastest = 0;
  for (ReplicaId replica = 0; replica < plan_.job.train.replicas; ++replica) {
    fastest = std::max(fastest, rates_.PerSecond(replica));
  }
  const double steps = fastest * absl::ToDoubleSeconds(2 * heartbeat_interval());
  return kLeastLead + static_cast<Clock>(std::min<double>(steps, kMostLead));
}

void JobState::OnCheckpoint(Clock clock, const std::string& folder, const absl::Status& written,
                            absl::Time now) {
  checkpoints_.Forget(clock);
  if (!written.ok()) {
    AddEvent({"checkpoint failed", plan_.job.name,
              absl::StrCat("the checkpoint at step ", clock, " failed: ", PrintableLine(written.message())),
              now, 0});
    return;
  }
  checkpoint_step_ = clock;
  checkpoint_folder_ = folder;
  AddEvent(
      {"checkpoint", plan_.job.name, absl::StrCat("checkpoint at step ", clock, " in ", folder), now, 0});
}

void JobState::SetRestore(wire::Restore restore, const std::vector<std::string>& passed_over,
                          absl::Time now) {
  for (const std::string& line : passed_over) {
    AddEvent(
        {"warning", plan_.job.name, absl::StrCat("a damaged checkpoint is passed over: ", line), now, 0});
  }
  planner_.SetRestore(std::move(restore));
  AdvanceMap(now);
}

void JobState::Fail(const std::string& message, absl::Time now) {
  if (progress_.Fail(message, now)) AddEvent({"failure", plan_.job.name, message, now, 0});
}

void JobState::Stop(const std::string& reason, absl::Time now) {
  if (progress_.Stop(reason, now)) AddEvent({"stop", plan_.job.name, reason, now, 0});
}

void JobState::Warn(const std::string& message, absl::Time now) {
  AddEvent({"warning", plan_.job.name, message, now, 0});
}

bool JobState::Succeed(absl::Time now) {
  if (!progress_.Succeed(now)) return false;
  Touch();
  log_.Line(absl::StrFormat("done in %.1f s", absl::ToDoubleSeconds(progress_.Elapsed(now))));
  return true;
}

void JobState::Tick(absl::Time now) {
  const absl::Duration since_last_tick = now - last_tick_;
  last_tick_ = now;
  if (since_last_tick > plan_.job.cluster.lease / 2) membership_.Forgive(since_last_tick, now);
  for (const Node* node : membership_.Expire(now)) {
    OnDeath(*node,
            absl::StrCat("no heartbeat for ", Seconds(now - node->last_seen), " (lease ",
                         absl::FormatDuration(plan_.job.cluster.lease), ")"),
            now);
  }
  AdvanceMap(now);
  if (phase() == JobPhase::kRunning && planner_.waiting().empty()) {
    checkpoints_.RequestIfDue(now, LargestClock(), CheckpointLead());
  }
  const bool waits = phase() == JobPhase::kWaiting || (!over() && planner_.parked());
  if (waits && now >= next_waiting_line_) {
    log_.Line(Message(now));
    next_waiting_line_ = now + kWaitingLineEvery;
  }
}

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

std::vector<ServerAssignment> JobState::Servers() const {
  std::vector<ServerAssignment> servers;
  for (const wire::ServerEntry& server : planner_.map().servers()) {
    const Node* const node = membership_.Find(server.node_id());
    servers.push_back({node == nullptr ? absl::StrCat("server ", server.index()) : node->Describe(),
                       server.address(),
                       {server.shards().begin(), server.shards().end()}});
  }
  return servers;
}

void JobState::SetCollected(const std::string& weights_digest, const TransferCounters& counters) {
  weights_digest_ = weights_digest;
  server_counters_ = counters;
}

bool JobState::NodesInformed() const {
  const bool failed = phase() == JobPhase::kFailed;
  return std::all_of(membership_.nodes().begin(), membership_.nodes().end(), [failed](const auto& entry) {
    return !entry.second.alive() || (failed && entry.second.knows_end);
  });
}

std::string JobState::Message(absl::Time now) const {
  if (phase() == JobPhase::kRunning) return planner_.waiting();
  if (phase() != JobPhase::kWaiting) return progress_.message();
  const std::string waiting_for = membership_.WaitingFor();
  return absl::StrCat(waiting_for.empty() ? "waiting for the newest checkpoint to be found" : waiting_for,
                      ", ", absl::ToInt64Seconds(now - created_), " s");
}

Version JobState::updates_per_shard() const {
  const TrainSpec& train = plan_.job.train;
  return plan_.total_steps * (train.replicas / train.consistency.group);
}

}  // namespace tessera
