#include "server/server_node.h"

#include <spdlog/spdlog.h>

#include <functional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/cluster_map.h"
#include "common/shared_memory/outbox.h"
#include "common/starting_weights.h"
#include "common/status.h"
#include "common/trace/process_trace.h"
#include "config/job_loader.h"
#include "server/grpc_exchange_server.h"
#include "server/parameter_service.h"

namespace tessera {
namespace {

// The shards that the map gives to server `index`.
absl::StatusOr<std::vector<ShardId>> ShardsOf(const wire::ClusterMap& map, int index) {
  for (const wire::ServerEntry& entry : map.servers()) {
    if (entry.index() == index) return std::vector<ShardId>(entry.shards().begin(), entry.shards().end());
  }
  return absl::InternalError(absl::StrCat("the shard map does not name server ", index));
}

// The replicas of each worker that has any: contiguous, in order (AssignReplicas).
std::vector<ReplicaRange> UnitsOf(const wire::ClusterMap& map) {
  std::vector<ReplicaRange> units;
  for (const wire::WorkerEntry& entry : map.workers()) {
    if (entry.replicas().empty()) continue;
    units.push_back({*entry.replicas().begin(), *entry.replicas().rbegin()});
  }
  return units;
}

ConsistencyOptions ConsistencyOf(const TrainSpec& train, absl::Span<const ReplicaRange> units) {
  const ConsistencySpec& spec = train.consistency;
  ConsistencyOptions options{.replicas = train.replicas,
                             .group = spec.group,
                             .staleness = spec.staleness,
                             .drop_stragglers = spec.drop_stragglers,
                             .units = {units.begin(), units.end()}};
  if (spec.group != 0) return options;
  options.group = spec.mode == "sync" ? train.replicas : 1;
  if (spec.mode == "async") options.staleness = ConsistencyOptions::kUnbounded;
  return options;
}

absl::StatusOr<StalenessCorrection> CorrectionOf(const ConsistencySpec& spec) {
  StalenessCorrection correction{.lambda = spec.dc_lambda, .adaptive = spec.dc_adaptive};
  TESSERA_ASSIGN_OR_RETURN(correction.kind, ParseStalenessCorrection(spec.staleness_correction));
  return correction;
}

// What shards start with when the job has a weights file, which must be the one that `digests` come from;
// empty when it has none.
absl::StatusOr<std::function<absl::Status(ShardId, absl::Span<float>)>> InitialOf(
    const JobSpec& job, const ShardLayout& layout, absl::Span<const uint64_t> digests) {
  if (job.model.weights.empty()) return nullptr;
  TESSERA_ASSIGN_OR_RETURN(StartingWeights weights,
                           StartingWeights::Create({job.model.weights, job.model.replace, job.seed}, layout));
  return [weights = std::make_shared<const StartingWeights>(std::move(weights)), layout,
          path = job.model.weights, expected = std::vector<uint64_t>(digests.begin(), digests.end())](
             ShardId id, absl::Span<float> out) {
    TESSERA_RETURN_IF_ERROR(weights->Fill(id, out));
    if (expected.empty() || expected[id] == ShardDigest(out)) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("model.weights: ", path,
                                                      " here is not the file that the coordinator has: ",
                                                      layout.Describe(id), " differs"));
  };
}

void FillProgress(const ParameterService& service, wire::HeartbeatRequest* request) {
  const std::shared_ptr<ParameterStore> store = service.store();
  if (store == nullptr) return;
  const StalenessStats staleness = store->staleness();
  wire::ServerProgress* progress = request->mutable_server();
  progress->set_staleness_pushes(staleness.pushes);
  progress->set_staleness_sum(staleness.sum);
  progress->set_staleness_max(staleness.max);
  progress->set_clock_lead_max(staleness.clock_lead_max);
}

// Versions in shared memory, which `server` offers to workers of this machine; null, and a line in the log,
// where there is none.
std::shared_ptr<TensorMemory> ShareVersions(size_t bytes, GrpcExchangeServer* server) {
  absl::StatusOr<std::shared_ptr<Outbox>> outbox = Outbox::Create(bytes);
  if (!outbox.ok()) {
    spdlog::info("tensors go over TCP: {}", std::string(outbox.status().message()));
    return nullptr;
  }
  server->set_outbox(*outbox);
  return (*outbox)->segment();
}

absl::Status Serve(NodeAgent* agent, ParameterService* service, GrpcExchangeServer* server,
                   TraceRecorder* recorder) {
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJobText(agent->job_yaml(), "job", {}));
  TESSERA_ASSIGN_OR_RETURN(const wire::ClusterMap map, agent->WaitForMap(/*after_term=*/0));
  TESSERA_ASSIGN_OR_RETURN(const ShardLayout layout, LayoutFromMap(map));
  if (recorder != nullptr) recorder->NameShards(layout);
  TESSERA_ASSIGN_OR_RETURN(const std::vector<ShardId> held, ShardsOf(map, agent->index()));
  VersionMemorySource version_memory;
  if (job.cluster.shared_memory)
    version_memory = [server](size_t bytes) { return ShareVersions(bytes, server); };
  TESSERA_ASSIGN_OR_RETURN(
      std::unique_ptr<ParameterStore> store,
      MakeStore(job, layout, map.steps_per_epoch(), UnitsOf(map), held, map.shard_digests(), version_memory));
  service->Open(std::move(store), map.term());
  agent->Adopted(map);
  spdlog::info("{} holds {} of {} shards", agent->name(), held.size(), layout.shards().size());
  return agent->WaitForEnd();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(const JobSpec& job, const ShardLayout& layout,
                                                          int64_t steps_per_epoch,
                                                          absl::Span<const ReplicaRange> units,
                                                          absl::Span<const ShardId> held,
                                                          absl::Span<const uint64_t> shard_digests,
                                                          const VersionMemorySource& version_memory) {
  if (!shard_digests.empty() && shard_digests.size() != layout.shards().size()) {
    return absl::InvalidArgumentError(absl::StrCat(shard_digests.size(), " digests of first values for ",
                                                   layout.shards().size(), " shards"));
  }
  ParameterStoreOptions options;
  options.seed = job.seed;
  options.consistency = ConsistencyOf(job.train, units);
  TESSERA_ASSIGN_OR_RETURN(options.correction, CorrectionOf(job.train.consistency));
  options.linear_lr_scaling = job.train.consistency.lr_scaling == "linear";
  TESSERA_ASSIGN_OR_RETURN(OptimizerPair optimizers,
                           CreateOptimizers(job.train.optimizer.name, job.train.optimizer.options));
  options.optimizer = std::move(optimizers.all);
  options.undecayed_optimizer = std::move(optimizers.undecayed);
  const auto per_epoch = static_cast<double>(steps_per_epoch);
  TESSERA_ASSIGN_OR_RETURN(options.schedule,
                           CreateSchedule(job.train.schedule.name, job.train.schedule.options,
                                          ScheduleContext{per_epoch * job.train.epochs, per_epoch}));
  TESSERA_ASSIGN_OR_RETURN(options.initial, InitialOf(job, layout, shard_digests));
  if (version_memory)
    options.version_memory = version_memory(ParameterStore::VersionBytes(options, layout, held));
  return ParameterStore::Create(std::move(options), layout, held);
}

absl::Status RunServerNode(const ServerNodeOptions& options, SignalWatcher* signals) {
  TESSERA_ASSIGN_OR_RETURN(ProcessTrace trace, ProcessTrace::Create(options.trace_file));
  const std::shared_ptr<ParameterService> service = ParameterService::Create();
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcExchangeServer> server,
                           GrpcExchangeServer::Start(options.listen, service, options.threads, trace.recorder()));
  NodeOptions node;
  node.coordinator = options.coordinator;
  node.patience = options.patience;
  node.kind = wire::SERVER;
  node.address = server->address();
  node.give_up = [signals] { return signals->received() != 0; };
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<NodeAgent> agent, NodeAgent::Join(node));
  spdlog::info("{} listens on {}", agent->name(), server->address());
  agent->set_progress_source([service](wire::HeartbeatRequest* request) { FillProgress(*service, request); });
  signals->Watch([&](int) { agent->Interrupt(absl::CancelledError("interrupted by a signal")); });

  const absl::Status status =
      agent->Conclude(Serve(agent.get(), service.get(), server.get(), trace.recorder()));
  signals->Watch({});
  agent->Leave();  // first: who sees the streams end then finds the reason at the coordinator
  server->Shutdown();
  const absl::Status traced = trace.Write(agent->name());
  return status.ok() ? traced : status;
}

}  // namespace tessera
