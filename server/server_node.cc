#include "server/server_node.h"

#include <signal.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/rpc/cluster_map.h"
#include "common/rpc/exchange_client.h"
#include "common/shared_memory/outbox.h"
#include "common/status.h"
#include "common/trace/process_trace.h"
#include "config/job_loader.h"
#include "server/adoption_report.h"
#include "server/grpc_exchange_server.h"
#include "server/map_adopter.h"
#include "server/parameter_service.h"
#include "server/replicator.h"

namespace tessera {
namespace {

// Memory for versions that `server` offers to workers of this machine. Used by one thread.
class SharedVersions {
 public:
  explicit SharedVersions(GrpcExchangeServer* server) : server_(server) {}

  // Room for `bytes`; null, and a line in the log, where there is none. What was given last is given again if
  // it is as large and free: connections of before share no other.
  std::shared_ptr<TensorMemory> Get(size_t bytes) {
    if (outbox_ == nullptr || bytes != bytes_ || !IsFree()) {
      absl::StatusOr<std::shared_ptr<Outbox>> outbox = Outbox::Create(bytes);
      if (!outbox.ok()) {
        spdlog::info("tensors go over TCP: {}", std::string(outbox.status().message()));
        return nullptr;
      }
      outbox_ = *std::move(outbox);
      bytes_ = bytes;
      server_->set_outbox(outbox_);
    }
    return outbox_->segment();
  }

 private:
  // Peers may still read what lies there.
  bool IsFree() const {
    const size_t length = bytes_ / sizeof(float);
    float* const all = outbox_->segment()->Allocate(length);
    if (all != nullptr) outbox_->segment()->Free(all, length);
    return all != nullptr;
  }

  GrpcExchangeServer* const server_;
  std::shared_ptr<Outbox> outbox_;
  size_t bytes_ = 0;
};

// What outlives an incarnation.
struct ServerParts {
  SignalWatcher* signals;
  TraceRecorder* recorder;
  std::shared_ptr<ParameterService> service;
  GrpcExchangeServer* server;
  ExchangeClient* client;  // to other servers
};

std::shared_ptr<Replicator> StartReplicator(NodeAgent* agent, const ServerParts& parts,
                                            std::shared_ptr<AdoptionReport> adoption) {
  ReplicatorOptions options{.node = agent->name(), .node_id = agent->node_id(), .lease = agent->lease()};
  options.on_open = [weak = std::weak_ptr(parts.service), adoption = std::move(adoption)] {
    if (const auto service = weak.lock()) service->OnOpen();
    adoption->OnOpen();
  };
  options.on_copied = [agent] { agent->Poke(); };
  options.on_silence = [agent](const std::string& news) {
    spdlog::warn("{}", news);
    agent->Poke();
  };
  auto replicator = std::make_shared<Replicator>(std::move(options));
  replicator->Start(
      [client = parts.client](const BackupPeer& peer, std::shared_ptr<ExchangeReceiver> receiver) {
        return client->Open(peer.address, std::move(receiver));
      });
  return replicator;
}

std::string FormatTerm(int64_t term) { return absl::StrCat(term >> 32, ".", term & 0xffffffff); }

void LogAdopted(const NodeAgent& agent, const ParameterStore* store, const wire::ClusterMap& map) {
  if (store == nullptr) {
    spdlog::info("{} is spare (map {}, rewind {})", agent.name(), FormatTerm(map.term()), map.rewind());
    return;
  }
  spdlog::info("{} holds {} of {} shards (map {}, rewind {}, from step {})", agent.name(),
               store->held().size(), store->layout().shards().size(), FormatTerm(map.term()), map.rewind(),
               map.restore().clock());
}

absl::Status NameShards(TraceRecorder* recorder, const wire::ClusterMap& map) {
  if (recorder == nullptr) return absl::OkStatus();
  TESSERA_ASSIGN_OR_RETURN(const ShardLayout layout, LayoutFromMap(map));
  recorder->NameShards(layout);
  return absl::OkStatus();
}

// Adopts one map after the other until the job is over.
absl::Status FollowMaps(NodeAgent* agent, MapAdopter* adopter, AdoptionReport* adoption,
                        const ServerParts& parts) {
  int64_t term = 0;
  while (true) {
    const absl::StatusOr<wire::ClusterMap> map = agent->WaitForMap(term);
    if (absl::IsCancelled(map.status())) return agent->WaitForEnd();
    TESSERA_RETURN_IF_ERROR(map.status());
    if (term == 0) TESSERA_RETURN_IF_ERROR(NameShards(parts.recorder, *map));
    TESSERA_RETURN_IF_ERROR(adopter->Adopt(*map));
    adoption->Begin(*map, parts.service->store());
    LogAdopted(*agent, parts.service->store().get(), *map);
    term = map->term();
  }
}

absl::Status Serve(NodeAgent* agent, const ServerParts& parts) {
  TESSERA_ASSIGN_OR_RETURN(JobSpec job, LoadJobText(agent->job_yaml(), "job", {}));
  const auto memory = std::make_shared<SharedVersions>(parts.server);
  const auto adoption =
      std::make_shared<AdoptionReport>([agent](const wire::ClusterMap& map) { agent->Adopted(map); });
  const std::shared_ptr<Replicator> replicator = StartReplicator(agent, parts, adoption);
  MapAdopter::Options options{
      .job = std::move(job),
      .node_id = agent->node_id(),
      .index = agent->index(),
      .incarnation = agent->incarnation(),
      .service = parts.service,
      .report = [agent](wire::ReportCheckpointRequest report) { agent->ReportCheckpoint(std::move(report)); },
      .replicator = replicator};
  if (options.job.cluster.shared_memory)
    options.version_memory = [memory](size_t bytes) { return memory->Get(bytes); };
  const auto adopter = std::make_shared<MapAdopter>(std::move(options));
  // The agent's thread may still be in these calls when we return: they share what they touch.
  agent->set_progress_source([adopter](wire::HeartbeatRequest* request) { adopter->FillProgress(request); });
  agent->set_on_checkpoint([adopter](Clock clock) { adopter->SaveAt(clock); });
  absl::Status status = FollowMaps(agent, adopter.get(), adoption.get(), parts);
  agent->set_on_checkpoint({});
  agent->set_progress_source({});
  adoption->Stop();
  adopter->Stop();
  replicator->Close();
  return status;
}

// One incarnation, from joining to its end. kNotFound with NodeAgent::Evicted: it was declared dead.
absl::Status LiveOnce(const NodeOptions& node, absl::Duration drain_timeout, const ServerParts& parts,
                      std::string* name) {
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<NodeAgent> agent, NodeAgent::Join(node));
  *name = agent->name();
  spdlog::info("{} listens on {}", agent->name(), node.address);
  std::atomic<bool> drains = false;
  parts.signals->Watch([&](int signal) {
    const absl::Status reason = absl::CancelledError("interrupted by a signal");
    if (signal != SIGTERM || drains.exchange(true)) return agent->Interrupt(reason);
    agent->Drain(drain_timeout, reason);
  });
  absl::Status status = Serve(agent.get(), parts);
  if (!NodeAgent::Evicted(status)) status = agent->Conclude(status);
  parts.signals->Watch({});
  agent->Leave();  // before the streams end: who sees that then finds the reason at the coordinator
  return status;
}

}  // namespace

absl::Status RunServerNode(const ServerNodeOptions& options, SignalWatcher* signals) {
  TESSERA_ASSIGN_OR_RETURN(ProcessTrace trace, ProcessTrace::Create(options.trace_file));
  const std::shared_ptr<ParameterService> service = ParameterService::Create();
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create(options.faults);
  TESSERA_ASSIGN_OR_RETURN(
      const std::unique_ptr<GrpcExchangeServer> server,
      GrpcExchangeServer::Start(options.listen, service, options.threads, trace.recorder(), faults));
  ExchangeClient client(/*outbox=*/nullptr, std::make_shared<InboundLinks>(), faults);
  const ServerParts parts{signals, trace.recorder(), service, server.get(), &client};
  NodeOptions node;
  node.coordinator = options.coordinator;
  node.kind = wire::SERVER;
  node.address = server->address();
  node.patience = options.patience;
  node.faults = faults;
  node.give_up = [signals] { return signals->received() != 0; };
  std::string name = "server";
  absl::Status status = LiveOnce(node, options.drain_timeout, parts, &name);
  while (NodeAgent::Evicted(status) && signals->received() == 0) {
    spdlog::warn("{} drops what it has and joins again: {}", name, std::string(status.message()));
    service->Reset(absl::UnavailableError(absl::StrCat(name, " was declared dead")));
    status = LiveOnce(node, options.drain_timeout, parts, &name);
  }
  server->Shutdown();
  if (faults != nullptr) spdlog::info("{}", faults->Summary());
  const absl::Status traced = trace.Write(name);
  return status.ok() ? traced : status;
}

}  // namespace tessera
