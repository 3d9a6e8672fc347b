#include "coordinator/job_state.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/protocol.h"
#include "common/rpc/cluster_map.h"
#include "common/status.h"
#include "common/text.h"
#include "config/job_loader.h"
#include "coordinator/cluster_plan.h"
#include "coordinator/event_text.h"
#include "coordinator/job_comparison.h"

namespace tessera {
namespace {

constexpr absl::Duration kWaitingLineEvery = absl::Seconds(5);
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
