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
#include "coordinator/placement.h"
#include "server/consistency_policy.h"

namespace tessera {
namespace {

constexpr absl::Duration kWaitingLineEvery = absl::Seconds(5);
constexpr int64_t kFirstTerm = 1;

MembershipOptions MembershipOf(const JobSpec& job) {
  return {.servers = job.cluster.servers,
          .workers = job.cluster.workers,
          .lease = job.cluster.lease,
          .same_fingerprint = job.train.deterministic};
}

JobProgressOptions ProgressOf(const JobPlan& plan) {
  return {.replicas = plan.job.train.replicas,
          .batch_size = plan.job.train.batch_size,
          .epochs = plan.job.train.epochs,
          .steps_per_epoch = plan.steps_per_epoch,
          .test_samples = plan.test_samples,
          .may_drop = plan.job.train.consistency.drop_stragglers > 0};
}

ConsistencyOptions ConsistencyOf(const TrainSpec& train) {
  return {.replicas = train.replicas,
          .group = train.consistency.group,
          .staleness = train.consistency.staleness,
          .drop_stragglers = train.consistency.drop_stragglers};
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
          .dropped = progress.dropped(),
          .current = {progress.epoch(), progress.loss_sum(), progress.loss_count(), progress.correct()},
          .finished = {progress.last_epoch(), progress.last_loss_sum(), progress.last_loss_count(),
                       progress.last_correct()}};
}

wire::Phase PhaseOf(JobPhase phase) {
  switch (phase) {
    case JobPhase::kWaiting:
      return wire::WAITING;
    case JobPhase::kRunning:
      return wire::RUNNING;
    case JobPhase::kFinishing:
      return wire::FINISHING;
    case JobPhase::kDone:
      return wire::DONE;
    case JobPhase::kFailed:
      return wire::FAILED;
    case JobPhase::kStopped:
      return wire::STOPPED;
  }
  return wire::PHASE_UNSPECIFIED;
}

// Whether the staleness of so many pushes, each >= 0, can add up to that.
bool IsPossible(const wire::ServerProgress& progress) {
  const bool none_negative = progress.staleness_pushes() >= 0 && progress.staleness_sum() >= 0 &&
                             progress.staleness_max() >= 0 && progress.clock_lead_max() >= 0;
  return none_negative && progress.staleness_max() <= progress.staleness_sum() &&
         static_cast<double>(progress.staleness_sum()) <=
             static_cast<double>(progress.staleness_pushes()) * static_cast<double>(progress.staleness_max());
}

absl::Status CheckServerProgress(const Node& node, const wire::HeartbeatRequest& request) {
  if (!request.has_server()) return absl::OkStatus();
  const wire::ServerProgress& progress = request.server();
  if (node.introduction.role != NodeRole::kServer) {
    return absl::InvalidArgumentError("reports what only a server knows");
  }
  if (IsPossible(progress)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "reports ", progress.staleness_pushes(), " pushes of staleness ", progress.staleness_sum(), " in all, ",
      progress.staleness_max(), " at most, and a clock lead of ", progress.clock_lead_max()));
}

std::string Plural(size_t count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace

JobState::JobState(JobPlan plan, absl::Time now)
    : plan_(std::move(plan)),
      job_yaml_(FormatJob(plan_.job)),
      created_(now),
      membership_(MembershipOf(plan_.job)),
      progress_(ProgressOf(plan_)),
      rates_(plan_.job.train.replicas),
      last_tick_(now),
      next_waiting_line_(now + kWaitingLineEvery) {}

absl::Duration JobState::heartbeat_interval() const {
  return std::min(plan_.job.cluster.lease / 3, absl::Milliseconds(500));
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
    log_.Add({"join", node.Name(), absl::StrCat(node.Describe(), " joined"), now, node.introduction.pid});
    StartIfComplete(now);
  }
  reply->set_node_id(node.id);
  reply->set_index(node.index);
  reply->set_job_yaml(job_yaml_);
  reply->set_lease_ms(absl::ToInt64Milliseconds(plan_.job.cluster.lease));
  reply->set_heartbeat_ms(absl::ToInt64Milliseconds(heartbeat_interval()));
  return absl::OkStatus();
}

void JobState::StartIfComplete(absl::Time now) {
  if (phase() != JobPhase::kWaiting || !membership_.complete()) return;
  const JobSpec& job = plan_.job;
  shards_of_server_ = PlaceShards(plan_.layout, job.cluster.servers);
  replicas_of_worker_ = AssignReplicas(job.train.replicas, job.cluster.workers);
  map_ = BuildMap();
  progress_.Start(now);
  log_.Line(absl::StrCat(
      "running: ", Plural(job.cluster.servers, "server"), ", ", Plural(job.cluster.workers, "worker"), ", ",
      Plural(job.train.replicas, "replica"), ", ", Plural(plan_.layout.shards().size(), "shard"), ", ",
      Plural(static_cast<size_t>(plan_.total_steps), "step"), " in ", Plural(job.train.epochs, "epoch")));
  WarnOfIdleWorkers(now);
}

void JobState::WarnOfIdleWorkers(absl::Time now) {
  constexpr size_t kMostNamed = 8;
  std::vector<std::string> idle;
  for (const Node* worker : membership_.NodesOf(NodeRole::kWorker)) {
    if (replicas_of_worker_[worker->index].empty()) idle.push_back(worker->Describe());
  }
  if (idle.empty()) return;
  // Replicas go to the first workers, so the idle ones are the last.
  const int32_t workers = plan_.job.cluster.workers;
  const std::string names =
      idle.size() <= kMostNamed
          ? absl::StrJoin(idle, ", ")
          : absl::StrCat("workers ", workers - static_cast<int32_t>(idle.size()), "..", workers - 1);
  log_.Add({"warning", plan_.job.name,
            absl::StrCat("more workers than replicas (train.replicas: ", plan_.job.train.replicas,
                         "); idle: ", names),
            now, 0});
}

wire::ClusterMap JobState::BuildMap() const {
  wire::ClusterMap map;
  map.set_term(kFirstTerm);
  for (const Node* server : membership_.NodesOf(NodeRole::kServer)) {
    wire::ServerEntry* entry = map.add_servers();
    entry->set_index(server->index);
    entry->set_node_id(server->id);
    entry->set_address(server->introduction.address);
    const std::vector<ShardId>& shards = shards_of_server_[server->index];
    entry->mutable_shards()->Assign(shards.begin(), shards.end());
  }
  for (const Node* worker : membership_.NodesOf(NodeRole::kWorker)) {
    wire::WorkerEntry* entry = map.add_workers();
    entry->set_index(worker->index);
    entry->set_node_id(worker->id);
    const std::vector<ReplicaId>& replicas = replicas_of_worker_[worker->index];
    entry->mutable_replicas()->Assign(replicas.begin(), replicas.end());
  }
  LayoutToMap(plan_.layout, plan_.job.cluster.shard_bytes, &map);
  map.set_steps_per_epoch(plan_.steps_per_epoch);
  for (const nn::InputSpec& input : plan_.graph->inputs()) {
    wire::Input* sent = map.add_inputs();
    sent->set_name(input.name);
    sent->mutable_shape()->Assign(input.shape.begin(), input.shape.end());
  }
  map.set_classes(plan_.graph->classes());
  map.set_train_samples(plan_.train_samples);
  map.set_test_samples(plan_.test_samples);
  map.mutable_shard_digests()->Assign(plan_.weights.shard_digests.begin(), plan_.weights.shard_digests.end());
  return map;
}

absl::Status JobState::GetClusterMap(const wire::GetClusterMapRequest& request, absl::Time now,
                                     wire::ClusterMap* reply) {
  TESSERA_RETURN_IF_ERROR(membership_.FindAlive(request.node_id(), request.incarnation()).status());
  if (map_.servers().empty()) {
    if (over()) return absl::FailedPreconditionError("the job was over before every node had come");
    return absl::UnavailableError(Message(now));
  }
  *reply = map_;
  return absl::OkStatus();
}

absl::Status JobState::Heartbeat(const wire::HeartbeatRequest& request, absl::Time now,
                                 wire::HeartbeatReply* reply) {
  TESSERA_ASSIGN_OR_RETURN(Node * node, membership_.FindAlive(request.node_id(), request.incarnation()));
  TESSERA_RETURN_IF_ERROR(Annotate(RecordProgress(*node, request, now), node->Name()));
  node->last_seen = now;
  LogEpochs();
  FinishTrainingIfComplete(now);
  if (request.leaving()) OnLeave(node, now);
  reply->set_phase(PhaseOf(phase()));
  reply->set_term(map_.term());
  reply->set_message(Message(now));
  node->knows_end = over();
  return absl::OkStatus();
}

absl::Status JobState::RecordProgress(const Node& node, const wire::HeartbeatRequest& request,
                                      absl::Time now) {
  if (request.pushed_bytes() < 0 || request.pulled_bytes() < 0 || request.shared_memory_bytes() < 0 ||
      !(request.training_seconds() >= 0) || std::isinf(request.training_seconds())) {
    return absl::InvalidArgumentError(absl::StrCat("reports ", request.pushed_bytes(), " bytes pushed, ",
                                                   request.pulled_bytes(), " pulled, ",
                                                   request.shared_memory_bytes(), " through shared memory, ",
                                                   request.training_seconds(), " s of training"));
  }
  TESSERA_RETURN_IF_ERROR(CheckReplicas(node, request));
  TESSERA_RETURN_IF_ERROR(CheckServerProgress(node, request));
  std::vector<ReplicaReport> reports;
  for (const wire::ReplicaProgress& progress : request.replicas()) reports.push_back(ReportOf(progress));
  TESSERA_RETURN_IF_ERROR(progress_.RecordReplicas(reports));
  for (const ReplicaReport& report : reports) {
    rates_.Record(report.replica, progress_.CountedOf(report.replica), now);
  }
  const wire::ServerProgress& server = request.server();
  if (request.has_server() && server.staleness_pushes() >= server_progress_[node.id].staleness_pushes) {
    server_progress_[node.id] = {.staleness_pushes = server.staleness_pushes(),
                                 .staleness_sum = server.staleness_sum(),
                                 .staleness_max = server.staleness_max(),
                                 .clock_lead_max = server.clock_lead_max()};
  }
  if (node.introduction.role == NodeRole::kWorker) {
    WorkerCounters& counters = worker_counters_[node.id];
    counters.pushed_bytes = std::max(counters.pushed_bytes, request.pushed_bytes());
    counters.pulled_bytes = std::max(counters.pulled_bytes, request.pulled_bytes());
    counters.shared_memory_bytes = std::max(counters.shared_memory_bytes, request.shared_memory_bytes());
    counters.training_seconds = std::max(counters.training_seconds, request.training_seconds());
  }
  return absl::OkStatus();
}

absl::Status JobState::CheckReplicas(const Node& node, const wire::HeartbeatRequest& request) const {
  if (request.replicas_size() > plan_.job.train.replicas) {
    return absl::InvalidArgumentError(absl::StrCat("reports on ", request.replicas_size(),
                                                   " replicas, the job has ", plan_.job.train.replicas));
  }
  if (request.replicas().empty() || replicas_of_worker_.empty()) return absl::OkStatus();
  const bool is_worker = node.introduction.role == NodeRole::kWorker;
  const std::vector<ReplicaId> own = is_worker ? replicas_of_worker_[node.index] : std::vector<ReplicaId>();
  for (const wire::ReplicaProgress& progress : request.replicas()) {
    if (!std::binary_search(own.begin(), own.end(), progress.replica())) {
      return absl::InvalidArgumentError(
          absl::StrCat("reports on replica ", progress.replica(), ", which it does not run"));
    }
  }
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
  TESSERA_RETURN_IF_ERROR(Annotate(progress_.RecordEvaluation(request.clock(), chunks), node->Name()));
  LogEpochs();
  FinishTrainingIfComplete(now);
  return absl::OkStatus();
}

void JobState::FinishTrainingIfComplete(absl::Time now) {
  if (!progress_.FinishTraining(now)) return;
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
  }
}

absl::Status JobState::ReportFailure(const wire::ReportFailureRequest& request, absl::Time now) {
  TESSERA_ASSIGN_OR_RETURN(const Node* reporter,
                           membership_.FindAlive(request.node_id(), request.incarnation()));
  const std::string message = PrintableLine(request.message());
  if (over()) {
    log_.Line(absl::StrCat("after the end, ", reporter->Name(), " reports: ", message));
    return absl::OkStatus();
  }
  FailBecauseOf(*reporter, absl::StrCat(reporter->Describe(), ": ", message), now);
  return absl::OkStatus();
}

void JobState::FailBecauseOf(const Node& node, const std::string& message, absl::Time now) {
  if (!progress_.Fail(message, now)) return;
  log_.Add({"failure", node.Name(), message, now, node.introduction.pid});
}

void JobState::Fail(const std::string& message, absl::Time now) {
  if (!progress_.Fail(message, now)) return;
  log_.Add({"failure", plan_.job.name, message, now, 0});
}

void JobState::Stop(const std::string& reason, absl::Time now) {
  if (!progress_.Stop(reason, now)) return;
  log_.Add({"stop", plan_.job.name, reason, now, 0});
}

bool JobState::Succeed(absl::Time now) {
  if (!progress_.Succeed(now)) return false;
  log_.Line(absl::StrFormat("done in %.1f s", absl::ToDoubleSeconds(progress_.Elapsed(now))));
  return true;
}

void JobState::Tick(absl::Time now) {
  const absl::Duration since_last_tick = now - last_tick_;
  last_tick_ = now;
  if (since_last_tick > plan_.job.cluster.lease / 2) membership_.Forgive(since_last_tick, now);
  for (const Node* node : membership_.Expire(now)) OnDeath(*node, now);
  if (phase() == JobPhase::kWaiting && now >= next_waiting_line_) {
    log_.Line(Message(now));
    next_waiting_line_ = now + kWaitingLineEvery;
  }
}

void JobState::OnDeath(const Node& node, absl::Time now) {
  const std::string message = absl::StrFormat("%s died: no heartbeat for %.1f s (lease %s)", node.Describe(),
                                              absl::ToDoubleSeconds(now - node.last_seen),
                                              absl::FormatDuration(plan_.job.cluster.lease));
  if (over()) {
    log_.Line(absl::StrCat("after the end, ", message));
    return;
  }
  log_.Add({"death", node.Name(), message, now, node.introduction.pid});
  // Once training is complete, nothing is needed of workers any more.
  const bool needed = phase() != JobPhase::kFinishing || node.introduction.role == NodeRole::kServer;
  if (needed) progress_.Fail(message, now);
}

void JobState::OnLeave(Node* node, absl::Time now) {
  node->state = Node::State::kLeft;
  const bool needed = phase() != JobPhase::kFinishing || node->introduction.role == NodeRole::kServer;
  if (over() || !needed) {
    log_.Line(absl::StrCat(node->Describe(), " left"));
    return;
  }
  FailBecauseOf(*node, absl::StrCat(node->Describe(), " left before the job was over"), now);
}

std::vector<ServerAssignment> JobState::Servers() const {
  std::vector<ServerAssignment> servers;
  for (const Node* server : membership_.NodesOf(NodeRole::kServer)) {
    servers.push_back({server->Describe(), server->introduction.address, shards_of_server_[server->index]});
  }
  return servers;
}

void JobState::SetCollected(const std::string& weights_digest, const TransferCounters& counters) {
  weights_digest_ = weights_digest;
  server_counters_ = counters;
}

bool JobState::NodesInformed() const {
  const bool failed = phase() == JobPhase::kFailed;
  const std::deque<Node>& nodes = membership_.nodes();
  return std::all_of(nodes.begin(), nodes.end(),
                     [failed](const Node& node) { return !node.alive() || (failed && node.knows_end); });
}

std::string JobState::Message(absl::Time now) const {
  if (phase() != JobPhase::kWaiting) return progress_.message();
  return absl::StrCat(membership_.WaitingFor(), ", ", absl::ToInt64Seconds(now - created_), " s");
}

double JobState::ImagesPerSecond() const {
  // Of the busiest worker: they train side by side. Waiting for others counts, evaluation does not.
  double seconds = 0;
  for (const auto& [id, counters] : worker_counters_) seconds = std::max(seconds, counters.training_seconds);
  return seconds == 0 ? 0 : static_cast<double>(progress_.images()) / seconds;
}

std::vector<double> JobState::ReplicaImagesPerSecond() const {
  std::vector<double> rates(plan_.job.train.replicas, 0);
  for (const Node* worker : membership_.NodesOf(NodeRole::kWorker)) {
    const auto counters = worker_counters_.find(worker->id);
    if (replicas_of_worker_.empty() || counters == worker_counters_.end()) continue;
    if (counters->second.training_seconds == 0) continue;
    for (const ReplicaId replica : replicas_of_worker_[worker->index]) {
      const auto images = static_cast<double>(progress_.CountedOf(replica) * plan_.job.train.batch_size);
      rates[replica] = images / counters->second.training_seconds;
    }
  }
  return rates;
}

TransferCounters JobState::HeartbeatCounters() const {
  TransferCounters sum;
  for (const auto& [id, counters] : worker_counters_) {
    sum.pushed_bytes += counters.pushed_bytes;
    sum.pulled_bytes += counters.pulled_bytes;
    sum.shared_memory_bytes += counters.shared_memory_bytes;
  }
  for (const auto& [id, counters] : server_progress_) sum.Add(counters);
  return sum;
}

Version JobState::updates_per_shard() const {
  const TrainSpec& train = plan_.job.train;
  return plan_.total_steps * (train.replicas / train.consistency.group);
}

RunSummary JobState::Summary(const std::string& status, absl::Time now) const {
  RunSummary summary{.job = plan_.job.name,
                     .seed = plan_.job.seed,
                     .status = status,
                     .message = progress_.message(),
                     .mode = plan_.job.train.consistency.mode,
                     .replicas = plan_.job.train.replicas,
                     .batch_size = plan_.job.train.batch_size,
                     .workers = membership_.NumAlive(NodeRole::kWorker),
                     .servers = membership_.NumAlive(NodeRole::kServer),
                     .steps = progress_.MinClock(),
                     .images_per_second = ImagesPerSecond(),
                     .wall_seconds = absl::ToDoubleSeconds(progress_.Elapsed(now)),
                     .weights_digest = weights_digest_,
                     .staleness_bound = ConsistencyOf(plan_.job.train).StalenessBoundVersions(),
                     .dropped = progress_.dropped(),
                     .replica_images_per_second = ReplicaImagesPerSecond(),
                     .history = progress_.FinishedEpochs(),
                     .events = log_.events()};
  if (weights_digest_.empty()) {
    summary.counters = HeartbeatCounters();
  } else {
    summary.counters = server_counters_;
    summary.updates_per_shard = updates_per_shard();
  }
  return summary;
}

void JobState::FillStatus(absl::Time now, wire::JobStatus* status) const {
  const TrainSpec& train = plan_.job.train;
  status->set_job(plan_.job.name);
  status->set_phase(PhaseOf(phase()));
  status->set_message(Message(now));
  status->set_step(progress_.MinClock());
  status->set_total_steps(plan_.total_steps);
  status->set_steps_per_epoch(plan_.steps_per_epoch);
  status->set_epochs(train.epochs);
  status->set_train_loss(progress_.CurrentTrainLoss());
  status->set_images_per_second(ImagesPerSecond());
  status->set_mode(train.consistency.mode);
  status->set_protocol_version(kProtocolVersion);
  status->set_replicas(train.replicas);
  status->set_batch_size(train.batch_size);
  status->set_elapsed_seconds(absl::ToDoubleSeconds(progress_.Elapsed(now)));
  for (const Node& node : membership_.nodes()) FillNode(node, now, status->add_nodes());
  FillReplicas(status);
  FillStaleness(status);
  FillEpochsAndEvents(status);
}

void JobState::FillReplicas(wire::JobStatus* status) const {
  for (size_t worker = 0; worker < replicas_of_worker_.size(); ++worker) {
    for (const ReplicaId replica : replicas_of_worker_[worker]) {
      wire::ReplicaStatus* out = status->add_replica_status();
      out->set_replica(replica);
      out->set_clock(progress_.ClockOf(replica));
      out->set_dropped(progress_.DroppedOf(replica));
      out->set_worker(static_cast<int32_t>(worker));
      const bool training = phase() == JobPhase::kRunning && out->clock() < plan_.total_steps;
      if (training) {
        out->set_images_per_second(rates_.PerSecond(replica) * plan_.job.train.batch_size);
      }
    }
  }
}

void JobState::FillStaleness(wire::JobStatus* status) const {
  const TransferCounters counters = HeartbeatCounters();
  status->set_staleness_mean(counters.StalenessMean());
  status->set_staleness_max(counters.staleness_max);
  status->set_staleness_bound(ConsistencyOf(plan_.job.train).StalenessBoundVersions());
  status->set_clock_lead(counters.clock_lead_max);
}

void JobState::FillEpochsAndEvents(wire::JobStatus* status) const {
  for (const EpochHistory& epoch : progress_.FinishedEpochs()) {
    wire::EpochResult* result = status->add_epochs_done();
    result->set_epoch(epoch.epoch);
    result->set_train_loss(epoch.train_loss);
    result->set_train_accuracy(epoch.train_accuracy);
    result->set_evaluated(epoch.test.has_value());
    if (epoch.test.has_value()) {
      result->set_test_loss(epoch.test->loss);
      result->set_test_accuracy(epoch.test->accuracy);
    }
  }
  for (const JobEvent& event : log_.events()) {
    wire::Event* out = status->add_events();
    out->set_what(event.what);
    out->set_who(event.who);
    out->set_message(event.message);
    out->set_when(FormatEventTime(event.when));
    out->set_pid(event.pid);
  }
}

void JobState::FillNode(const Node& node, absl::Time now, wire::NodeStatus* status) const {
  status->set_name(node.Name());
  status->set_address(node.introduction.address);
  status->set_host(node.introduction.host);
  status->set_pid(node.introduction.pid);
  status->set_alive(node.alive());
  status->set_lease_age_ms(absl::ToInt64Milliseconds(now - node.last_seen));
  if (map_.servers().empty()) return;
  if (node.introduction.role == NodeRole::kWorker) {
    const std::vector<ReplicaId>& replicas = replicas_of_worker_[node.index];
    status->mutable_replicas()->Assign(replicas.begin(), replicas.end());
    status->set_idle(replicas.empty());
    return;
  }
  int64_t bytes = 0;
  for (const ShardId shard : shards_of_server_[node.index]) bytes += plan_.layout.shards()[shard].bytes();
  status->set_shards(static_cast<int32_t>(shards_of_server_[node.index].size()));
  status->set_shard_bytes(bytes);
}

}  // namespace tessera
