#include "worker/worker_session.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/exchange_client.h"
#include "common/shared_memory/outbox.h"
#include "common/status.h"
#include "worker/trainer.h"

namespace tessera {
namespace {

// The tracks of the connections to each server, also over several connections. Thread-safe.
class ServerTraces {
 public:
  explicit ServerTraces(TraceRecorder* recorder) : recorder_(recorder) {}

  ExchangeTrace Of(int node_id, int index) {
    MutexLock lock(&mutex_);
    const auto [found, added] = traces_.try_emplace(node_id);
    if (added) found->second = ExchangeTrace::To(recorder_, absl::StrCat("server ", index));
    return found->second;
  }
  ExchangeTrace Of(int node_id) {
    MutexLock lock(&mutex_);
    return traces_[node_id];
  }

 private:
  TraceRecorder* const recorder_;
  Mutex mutex_;
  std::map<int, ExchangeTrace> traces_ ABSL_GUARDED_BY(mutex_);
};

std::vector<ServerPeer> Servers(const wire::ClusterMap& map, ServerTraces* traces) {
  std::vector<ServerPeer> servers;
  for (const wire::ServerEntry& entry : map.servers()) {
    servers.push_back({absl::StrCat("server ", entry.index(), " (", entry.address(), ")"), entry.node_id(),
                       std::vector<ShardId>(entry.shards().begin(), entry.shards().end()),
                       traces->Of(entry.node_id(), entry.index()).receive, entry.address()});
  }
  return servers;
}

TrainerOptions OptionsOf(const JobPlan& plan, const std::vector<ReplicaId>& replicas, bool handed_over) {
  const TrainSpec& train = plan.job.train;
  TrainerOptions options;
  options.seed = plan.job.seed;
  options.replicas = train.replicas;
  options.group = train.consistency.group;
  options.local = {replicas.front(), replicas.back()};
  options.steps_per_epoch = plan.steps_per_epoch;
  options.epochs = train.epochs;
  options.test_samples = static_cast<uint32_t>(plan.test_samples);
  options.may_be_dropped = train.consistency.drop_stragglers > 0;
  options.clip_norm = train.clip_norm;
  options.handed_over = handed_over;
  options.patience = absl::InfiniteDuration();  // as long as the agent says that the job lives
  return options;
}

// Where gradients go to servers of this machine without a copy; null, and a line in the log, where there is
// none.
std::shared_ptr<Outbox> MakeOutbox(const JobPlan& plan, const TrainerOptions& options) {
  if (!plan.job.cluster.shared_memory) return nullptr;
  absl::StatusOr<std::shared_ptr<Outbox>> outbox = Outbox::Create(StepExchange::GradientBytes(
      plan.graph->blocks(), LocalGroups(options.local, options.group), options.group));
  if (outbox.ok()) return *std::move(outbox);
  spdlog::info("tensors go over TCP: {}", std::string(outbox.status().message()));
  return nullptr;
}

wire::ReportEvaluationRequest EvaluationReport(Clock clock, absl::Span<const EvaluationChunk> chunks) {
  wire::ReportEvaluationRequest request;
  request.set_clock(clock);
  for (const EvaluationChunk& chunk : chunks) {
    wire::EvaluationChunk* reported = request.add_chunks();
    reported->set_chunk(chunk.chunk);
    reported->set_samples(chunk.samples);
    reported->set_correct(chunk.correct);
    reported->set_loss_sum(chunk.loss_sum);
  }
  return request;
}

// Members in order of construction; the destructor ends what is open.
class RunningSession {
 public:
  RunningSession(const SessionParts& parts, const wire::ClusterMap& map)
      : parts_(parts),
        plan_(parts.training->plan),
        rewind_(map.rewind()),
        replicas_(ReplicasOf(map, parts.agent->node_id())),
        options_(OptionsOf(plan_, replicas_, map.handover() > 0)),
        traces_(parts.training->trace.recorder),
        outbox_(MakeOutbox(plan_, options_)),
        weights_(std::make_shared<PulledWeights>(plan_.layout, LocalGroups(options_.local, options_.group),
                                                 KeepOf(options_))),
        transport_(outbox_, parts.inbound, parts.faults) {}

  ~RunningSession() {
    parts_.progress->End();
    parts_.watcher->Listen(0, nullptr);
    if (client_ != nullptr) client_->Close();  // before the transport ends: then its end means nothing
    weights_->DropAll();
  }

  absl::StatusOr<WorkerSession::End> Run(const wire::ClusterMap& map) {
    const absl::Status status = Train(map);
    MutexLock lock(&mutex_);
    if (superseded_) return WorkerSession::End::kSuperseded;
    if (!status.ok()) return status;
    if (trainer_->hands_over()) return WorkerSession::End::kSuperseded;
    return WorkerSession::End::kJobOver;
  }

 private:
  absl::Status Train(const wire::ClusterMap& map) {
    TESSERA_RETURN_IF_ERROR(Connect(map));
    for (ReplicaId replica : replicas_) {
      const ClockRange next = client_->NextClock(replica);
      options_.next_clocks.push_back(
          {std::max(next.first, map.handover()), std::max(next.last, map.handover())});
    }
    MakeTrainer();
    const std::vector<Clock> start = StartClocks(options_);
    spdlog::info("{} runs replicas {}..{} from step {}", parts_.agent->name(), replicas_.front(),
                 replicas_.back(), *std::min_element(start.begin(), start.end()));
    parts_.progress->Begin({&*trainer_, client_.get(), outbox_.get(), rewind_});
    TESSERA_RETURN_IF_ERROR(trainer_->Run());
    parts_.agent->ReportProgress();
    if (trainer_->hands_over() || !IsLast()) return absl::OkStatus();
    TESSERA_RETURN_IF_ERROR(parts_.agent->FlushReports());
    return AwaitEnd();
  }

  // All steps are done. False: a map that hands the last evaluation over has come too late to be heeded.
  bool IsLast() {
    MutexLock lock(&mutex_);
    trained_ = true;
    superseded_ = superseded_ || end_ != Trainer::kNever;
    return !superseded_;
  }

  void MakeTrainer() {
    const auto sink = [this](Clock clock, absl::Span<const EvaluationChunk> chunks) {
      return Report(clock, chunks);
    };
    MutexLock lock(&mutex_);
    trainer_.emplace(options_, Parts(), sink);
    trainer_->EndAt(end_);
  }

  absl::Status Connect(const wire::ClusterMap& map) {
    ParameterClientOptions options;
    options.node = parts_.agent->name();
    options.term = map.term();
    options.may_be_dropped = options_.may_be_dropped;
    options.rewind = rewind_;
    options.lease = parts_.agent->lease();
    options.parked = [agent = parts_.agent] { return agent->parked(); };
    TESSERA_ASSIGN_OR_RETURN(
        client_, ParameterClient::Create(options, plan_.layout, Servers(map, &traces_), weights_));
    client_->set_on_stale([agent = parts_.agent] { agent->Poke(); });
    parts_.agent->Adopted(map);
    parts_.watcher->Listen(map.term(),
                           [this](const absl::StatusOr<wire::ClusterMap>& newer) { OnMap(newer); });
    return client_->Connect(
        [this](const ServerPeer& server, std::shared_ptr<ExchangeReceiver> receiver) {
          return transport_.Open(server.address, std::move(receiver), traces_.Of(server.node_id));
        },
        absl::InfiniteDuration());  // the client's patience and the agent bound it
  }

  TrainerParts Parts() {
    Training& training = *parts_.training;
    return {plan_.graph,
            training.executor.get(),
            training.train_batches.get(),
            training.test_loader.get(),
            client_.get(),
            weights_.get(),
            outbox_ == nullptr ? nullptr : outbox_->segment(),
            training.trace};
  }

  absl::Status Report(Clock clock, absl::Span<const EvaluationChunk> chunks) {
    parts_.agent->ReportProgress();
    return chunks.empty() ? absl::OkStatus() : parts_.agent->QueueEvaluation(EvaluationReport(clock, chunks));
  }

  // From the watcher's thread.
  void OnMap(const absl::StatusOr<wire::ClusterMap>& newer) {
    absl::Status status = newer.status();
    if (status.ok() && newer->rewind() == rewind_) {
      const bool same = ReplicasOf(*newer, parts_.agent->node_id()) == replicas_;
      if (same ? GoesOn(*newer) : EndsAt(newer->handover())) {
        status = client_->Adopt(newer->term(), Servers(*newer, &traces_));
        if (status.ok() && same) parts_.agent->Adopted(*newer);
        if (status.ok()) return;
      }
    }
    MutexLock lock(&mutex_);
    superseded_ = status.ok();
    over_ = true;
    changed_.NotifyAll();
    client_->Fail(status.ok() ? absl::AbortedError("the cluster's map has changed") : status);
  }

  // With the same replicas. False: it waits for a handover that is none any more, since somebody has died.
  bool GoesOn(const wire::ClusterMap& map) {
    MutexLock lock(&mutex_);
    const bool has_begun = trainer_.has_value() && !trainer_->progress().replicas.empty();
    if (options_.handed_over && map.handover() == 0 && !has_begun) return false;
    SetEndLocked(Trainer::kNever);
    return true;
  }

  // Others run the replicas from `handover` on. Before the client adopts the map that says so: without that
  // no weights for that clock come here. False: there is no handover, or all steps are done.
  bool EndsAt(Clock handover) {
    MutexLock lock(&mutex_);
    if (handover == 0 || trained_) return false;
    SetEndLocked(std::min(end_, handover));
    return true;
  }

  void SetEndLocked(Clock end) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    end_ = end;
    if (trainer_.has_value()) trainer_->EndAt(end);
  }

  // The last map or the end of the agent.
  absl::Status AwaitEnd() {
    {
      MutexLock lock(&mutex_);
      while (!over_) changed_.WaitWithTimeout(&mutex_, absl::Minutes(1));  // the watcher bounds the wait
      if (superseded_) return absl::OkStatus();
    }
    return parts_.agent->WaitForEnd();
  }

  const SessionParts parts_;
  const JobPlan& plan_;
  const int64_t rewind_;
  const std::vector<ReplicaId> replicas_;
  TrainerOptions options_;
  ServerTraces traces_;
  const std::shared_ptr<Outbox> outbox_;
  const std::shared_ptr<PulledWeights> weights_;
  ExchangeClient transport_;
  std::unique_ptr<ParameterClient> client_;
  std::optional<Trainer> trainer_;  // made under mutex_

  Mutex mutex_;  // taken before the client's
  CondVar changed_;
  Clock end_ ABSL_GUARDED_BY(mutex_) = Trainer::kNever;  // others run the replicas from there on
  bool trained_ ABSL_GUARDED_BY(mutex_) = false;         // all steps, and evaluated them
  bool superseded_ ABSL_GUARDED_BY(mutex_) = false;
  bool over_ ABSL_GUARDED_BY(mutex_) = false;  // superseded, or the agent has ended
};

}  // namespace

std::vector<ReplicaId> ReplicasOf(const wire::ClusterMap& map, int node_id) {
  for (const wire::WorkerEntry& entry : map.workers()) {
    if (entry.node_id() == node_id)
      return std::vector<ReplicaId>(entry.replicas().begin(), entry.replicas().end());
  }
  return {};
}

absl::StatusOr<WorkerSession::End> WorkerSession::Run(const SessionParts& parts,
                                                      const wire::ClusterMap& map) {
  return RunningSession(parts, map).Run(map);
}

}  // namespace tessera
