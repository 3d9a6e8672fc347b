#include "server/server_node.h"

#include <spdlog/spdlog.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/rpc/cluster_map.h"
#include "common/rpc/node_agent.h"
#include "common/status.h"
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

absl::Status Serve(NodeAgent* agent, ParameterService* service) {
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJobText(agent->job_yaml(), "job", {}));
  TESSERA_ASSIGN_OR_RETURN(const wire::ClusterMap map, agent->WaitForMap());
  TESSERA_ASSIGN_OR_RETURN(const ShardLayout layout, LayoutFromMap(map));
  TESSERA_ASSIGN_OR_RETURN(const std::vector<ShardId> held, ShardsOf(map, agent->index()));
  TESSERA_ASSIGN_OR_RETURN(std::unique_ptr<ParameterStore> store,
                           MakeStore(job, layout, map.steps_per_epoch(), held));
  service->Open(std::move(store), map.term());
  spdlog::info("{} holds {} of {} shards", agent->name(), held.size(), layout.shards().size());
  return agent->WaitForEnd();
}

}  // namespace

absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(const JobSpec& job, const ShardLayout& layout,
                                                          int64_t steps_per_epoch,
                                                          absl::Span<const ShardId> held) {
  ParameterStoreOptions options;
  options.seed = job.seed;
  options.consistency.replicas = job.train.replicas;
  options.consistency.group = job.train.replicas;  // sync: one group of all, staleness 0
  TESSERA_ASSIGN_OR_RETURN(options.optimizer, OptimizerRegistry::Create("optimizer", job.train.optimizer.name,
                                                                        job.train.optimizer.options));
  const auto per_epoch = static_cast<double>(steps_per_epoch);
  TESSERA_ASSIGN_OR_RETURN(options.schedule,
                           CreateSchedule(job.train.schedule.name, job.train.schedule.options,
                                          ScheduleContext{per_epoch * job.train.epochs, per_epoch}));
  return ParameterStore::Create(std::move(options), layout, held);
}

absl::Status RunServerNode(const ServerNodeOptions& options, SignalWatcher* signals) {
  const std::shared_ptr<ParameterService> service = ParameterService::Create();
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<GrpcExchangeServer> server,
                           GrpcExchangeServer::Start(options.listen, service, options.threads));
  NodeOptions node;
  node.coordinator = options.coordinator;
  node.kind = wire::SERVER;
  node.address = server->address();
  node.give_up = [signals] { return signals->received() != 0; };
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<NodeAgent> agent, NodeAgent::Join(node));
  spdlog::info("{} listens on {}", agent->name(), server->address());
  signals->Watch([&](int) { agent->Interrupt(absl::CancelledError("interrupted by a signal")); });

  const absl::Status status = agent->Conclude(Serve(agent.get(), service.get()), /*lost_node_id=*/0);
  signals->Watch({});
  agent->Leave();  // first: who sees the streams end then finds the reason at the coordinator
  server->Shutdown();
  return status;
}

}  // namespace tessera
