#include "worker/worker_node.h"

#include <spdlog/spdlog.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/cluster_map.h"
#include "common/rpc/exchange_client.h"
#include "common/shared_memory/outbox.h"
#include "common/status.h"
#include "common/trace/process_trace.h"
#include "config/job_loader.h"
#include "job/job_plan.h"
#include "worker/cpu/fingerprint.h"
#include "worker/trainer.h"

namespace tessera {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(30);

// What a worker's training is made of; members in order of construction.
struct Training {
  JobPlan plan;
  JobData data;
  std::unique_ptr<nn::Executor> executor;
  std::unique_ptr<BatchPrefetcher> train_batches;
  std::unique_ptr<BatchLoader> test_loader;
  TraceTrack trace;  // of the thread that trains
};

bool IsPaced(const PaceOptions& pace) {
  return pace.slowdown > 1 || pace.emulated_step > absl::ZeroDuration();
}

absl::StatusOr<Training> Prepare(const JobSpec& job, const PaceOptions& pace, TraceRecorder* recorder) {
  Training training;
  if (recorder != nullptr) training.trace = recorder->AddTrack("steps");
  TESSERA_ASSIGN_OR_RETURN(training.data, OpenJobData(job.data));
  TESSERA_ASSIGN_OR_RETURN(training.plan, MakeJobPlan(job, training.data));
  if (recorder != nullptr) recorder->NameShards(training.plan.layout);
  TESSERA_ASSIGN_OR_RETURN(training.executor, nn::ExecutorRegistry::Create(
                                                  "device", job.device.kind, training.plan.graph,
                                                  nn::ExecutorOptions{job.device.threads, training.trace}));
  if (IsPaced(pace)) {
    training.executor =
        std::make_unique<PacedExecutor>(std::move(training.executor), training.plan.graph, pace);
  }
  TESSERA_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(job.seed, training.data.train->size(),
                                                            job.train.replicas, job.train.batch_size));
  TESSERA_ASSIGN_OR_RETURN(const Normalization normalization,
                           MakeNormalization(job.data.normalize, *training.data.train));
  TESSERA_ASSIGN_OR_RETURN(BatchLoader train,
                           BatchLoader::Create(training.data.train, normalization, MakeAugmentation(job)));
  training.train_batches = std::make_unique<BatchPrefetcher>(std::move(sampler), train, recorder);
  if (training.data.test != nullptr) {
    TESSERA_ASSIGN_OR_RETURN(BatchLoader test, BatchLoader::Create(training.data.test, normalization));
    training.test_loader = std::make_unique<BatchLoader>(std::move(test));
  }
  return training;
}

// This worker's data must be what the coordinator planned with.
absl::Status CheckSameData(const JobPlan& plan, const wire::ClusterMap& map) {
  if (plan.train_samples == map.train_samples() && plan.test_samples == map.test_samples() &&
      plan.steps_per_epoch == map.steps_per_epoch()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("the data sets here have ", plan.train_samples, " and ",
                                                    plan.test_samples, " samples, the coordinator's ",
                                                    map.train_samples(), " and ", map.test_samples()));
}

// The replicas of worker `index`, or none.
std::vector<ReplicaId> ReplicasOf(const wire::ClusterMap& map, int index) {
  for (const wire::WorkerEntry& entry : map.workers()) {
    if (entry.index() == index)
      return std::vector<ReplicaId>(entry.replicas().begin(), entry.replicas().end());
  }
  return {};
}

// `traces`: of the connection to each.
std::vector<ServerPeer> Servers(const wire::ClusterMap& map, const std::vector<ExchangeTrace>& traces) {
  std::vector<ServerPeer> servers;
  for (const wire::ServerEntry& entry : map.servers()) {
    servers.push_back({absl::StrCat("server ", entry.index(), " (", entry.address(), ")"), entry.node_id(),
                       std::vector<ShardId>(entry.shards().begin(), entry.shards().end()),
                       traces[servers.size()].receive});
  }
  return servers;
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

std::vector<ExchangeTrace> TracesOf(const wire::ClusterMap& map, TraceRecorder* recorder) {
  std::vector<ExchangeTrace> traces;
  for (const wire::ServerEntry& entry : map.servers()) {
    traces.push_back(ExchangeTrace::To(recorder, absl::StrCat("server ", entry.index())));
  }
  return traces;
}

void FillHeartbeat(const Trainer& trainer, const ParameterClient& client, const Outbox* outbox,
                   wire::HeartbeatRequest* request) {
  const TrainerProgress progress = trainer.progress();
  for (const ReplicaTotals& totals : progress.replicas) {
    wire::ReplicaProgress* replica = request->add_replicas();
    replica->set_replica(totals.replica);
    replica->set_clock(totals.clock);
    replica->set_epoch(totals.current.epoch);
    replica->set_loss_sum(totals.current.loss_sum);
    replica->set_loss_count(totals.current.minibatches);
    replica->set_correct(totals.current.correct);
    replica->set_last_epoch(totals.last.epoch);
    replica->set_last_loss_sum(totals.last.loss_sum);
    replica->set_last_loss_count(totals.last.minibatches);
    replica->set_last_correct(totals.last.correct);
    replica->set_dropped(totals.dropped);
  }
  request->set_training_seconds(progress.training_seconds);
  request->set_pushed_bytes(client.pushed_bytes());
  request->set_pulled_bytes(client.pulled_bytes());
  if (outbox != nullptr) request->set_shared_memory_bytes(outbox->shared_bytes());
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

TrainerOptions OptionsOf(const JobPlan& plan, ReplicaRange local) {
  const TrainSpec& train = plan.job.train;
  TrainerOptions options;
  options.seed = plan.job.seed;
  options.replicas = train.replicas;
  options.group = train.consistency.group;
  options.local = local;
  options.steps_per_epoch = plan.steps_per_epoch;
  options.epochs = train.epochs;
  options.test_samples = static_cast<uint32_t>(plan.test_samples);
  options.may_be_dropped = train.consistency.drop_stragglers > 0;
  options.clip_norm = train.clip_norm;
  return options;
}

// Trains this worker's replicas to the end.
absl::Status Train(NodeAgent* agent, Training* training, const wire::ClusterMap& map,
                   const std::vector<ReplicaId>& replicas) {
  const JobPlan& plan = training->plan;
  const TrainerOptions options = OptionsOf(plan, {replicas.front(), replicas.back()});
  const std::shared_ptr<Outbox> outbox = MakeOutbox(plan, options);
  ExchangeClient transport(outbox);
  auto weights = std::make_shared<PulledWeights>(plan.layout, LocalGroups(options.local, options.group),
                                                 KeepOf(options));
  const std::vector<ExchangeTrace> traces = TracesOf(map, training->trace.recorder);
  TESSERA_ASSIGN_OR_RETURN(const std::shared_ptr<ParameterClient> client,
                           ParameterClient::Create({agent->name(), map.term(), options.may_be_dropped},
                                                   plan.layout, Servers(map, traces), weights));
  // The agent's threads may still be in these calls when we return: they share what they touch.
  agent->set_on_end([client](absl::Status end) {
    client->Fail(end.ok() ? absl::CancelledError("the job was stopped") : end);
  });

  const TrainerParts parts{plan.graph,
                           training->executor.get(),
                           training->train_batches.get(),
                           training->test_loader.get(),
                           client.get(),
                           weights.get(),
                           outbox == nullptr ? nullptr : outbox->segment(),
                           training->trace};
  const auto trainer = std::make_shared<Trainer>(
      options, parts, [agent](Clock clock, absl::Span<const EvaluationChunk> chunks) {
        agent->ReportProgress();
        return chunks.empty() ? absl::OkStatus() : agent->QueueEvaluation(EvaluationReport(clock, chunks));
      });
  agent->set_progress_source([trainer, client, outbox](wire::HeartbeatRequest* request) {
    FillHeartbeat(*trainer, *client, outbox.get(), request);
  });

  absl::Status status = client->Connect(
      [&](size_t server, std::shared_ptr<ExchangeReceiver> receiver) {
        return transport.Open(map.servers(static_cast<int>(server)).address(), std::move(receiver),
                              traces[server]);
      },
      kConnectTimeout);
  if (status.ok()) status = trainer->Run();
  if (status.ok())
    status = agent->WaitForEnd();  // connections stay until the coordinator has collected the weights
  agent->set_progress_source({});
  agent->set_on_end({});
  client->Close();  // before the transport ends: from here on, a connection's end means nothing
  return status;
}

absl::Status Work(NodeAgent* agent, const PaceOptions& pace, TraceRecorder* recorder) {
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJobText(agent->job_yaml(), "job", {}));
  TESSERA_ASSIGN_OR_RETURN(Training training, Prepare(job, pace, recorder));
  TESSERA_ASSIGN_OR_RETURN(const wire::ClusterMap map, agent->WaitForMap(/*after_term=*/0));
  TESSERA_RETURN_IF_ERROR(CheckSameData(training.plan, map));
  agent->Adopted(map);
  const std::vector<ReplicaId> replicas = ReplicasOf(map, agent->index());
  if (replicas.empty()) {
    spdlog::info("{} has no replica to run and stays idle", agent->name());
    return agent->WaitForEnd();
  }
  if (IsPaced(pace)) {
    spdlog::warn("{} only studies: {} of its steps take {} times as long{}", agent->name(),
                 pace.every == 1 ? "all" : absl::StrCat("one in ", pace.every), pace.slowdown,
                 pace.emulated_step > absl::ZeroDuration() ? ", and compute nothing" : "");
  }
  spdlog::info("{} runs replicas {}..{}", agent->name(), replicas.front(), replicas.back());
  return Train(agent, &training, map, replicas);
}

}  // namespace

absl::Status RunWorkerNode(const WorkerNodeOptions& options, SignalWatcher* signals) {
  TESSERA_ASSIGN_OR_RETURN(ProcessTrace trace, ProcessTrace::Create(options.trace_file));
  NodeOptions node;
  node.coordinator = options.coordinator;
  node.patience = options.patience;
  node.kind = wire::WORKER;
  node.fingerprint = cpu::MachineFingerprint();
  node.give_up = [signals] { return signals->received() != 0; };
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<NodeAgent> agent, NodeAgent::Join(node));
  spdlog::info("{} joined", agent->name());
  signals->Watch([&](int) { agent->Interrupt(absl::CancelledError("interrupted by a signal")); });

  const absl::Status own = Work(agent.get(), options.pace, trace.recorder());
  const absl::Status status = agent->Conclude(own);
  signals->Watch({});
  agent->Leave();
  const absl::Status traced = trace.Write(agent->name());
  return status.ok() ? traced : status;
}

}  // namespace tessera
