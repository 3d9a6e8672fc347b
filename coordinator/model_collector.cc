#include "coordinator/model_collector.h"

#include <grpcpp/grpcpp.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/assemble.h"
#include "common/rpc/channel.h"
#include "common/rpc/shard_reader.h"
#include "common/rpc/status_mapping.h"
#include "common/status.h"
#include "proto/parameter_service.grpc.pb.h"

namespace tessera {
namespace {

constexpr char kCaller[] = "coordinator";
constexpr int64_t kPortionBytes = int64_t{8} << 20;

absl::StatusOr<TransferCounters> FetchCounters(const ServerAssignment& server, absl::Duration timeout) {
  const auto stub = wire::ParameterService::NewStub(CreateChannel(server.address));
  grpc::ClientContext context;
  SetDeadline(&context, timeout);
  wire::ServerStats stats;
  TESSERA_RETURN_IF_ERROR(FromGrpcStatus(stub->GetStats(&context, wire::GetStatsRequest(), &stats)));
  return TransferCounters{
      .pushed_bytes = stats.pushed_bytes(),
      .pulled_bytes = stats.pulled_bytes(),
      .shared_memory_bytes = stats.shared_memory_bytes(),
      .staleness_pushes = stats.staleness_pushes(),
      .staleness_sum = stats.staleness_sum(),
      .staleness_max = stats.staleness_max(),
      .staleness_histogram = {stats.staleness_histogram().begin(), stats.staleness_histogram().end()},
      .clock_lead_max = stats.clock_lead_max(),
      .applied_min = {stats.applied_min().begin(), stats.applied_min().end()},
      .applied_max = {stats.applied_max().begin(), stats.applied_max().end()},
      .dropped = stats.dropped()};
}

// How many of `shards`, from the front, make one portion; at least one.
size_t PortionSize(const ShardLayout& layout, absl::Span<const ShardId> shards) {
  int64_t bytes = 0;
  size_t count = 0;
  while (count < shards.size() && (count == 0 || bytes < kPortionBytes)) {
    bytes += layout.shards()[shards[count++]].bytes();
  }
  return count;
}

absl::Status CheckVersion(const ShardLayout& layout, const FetchedShard& fetched, Version expected) {
  if (fetched.version == expected) return absl::OkStatus();
  return absl::InternalError(absl::StrCat("shard ", layout.Describe(fetched.shard), " has version ",
                                          fetched.version, " after training, expected ", expected));
}

absl::Status FetchShards(const ShardLayout& layout, const ServerAssignment& server, Version expected,
                         absl::Duration timeout, std::vector<SharedTensor>* by_shard) {
  absl::Span<const ShardId> rest = server.shards;
  while (!rest.empty()) {
    const size_t count = PortionSize(layout, rest);
    TESSERA_ASSIGN_OR_RETURN(std::vector<FetchedShard> portion,
                             ReadShards(server.address, kCaller, rest.subspan(0, count), timeout));
    for (FetchedShard& fetched : portion) {
      TESSERA_RETURN_IF_ERROR(CheckVersion(layout, fetched, expected));
      (*by_shard)[fetched.shard] = std::move(fetched.weights);
    }
    rest.remove_prefix(count);
  }
  return absl::OkStatus();
}

absl::StatusOr<CollectedModel> Collect(const ShardLayout& layout, absl::Span<const ServerAssignment> servers,
                                       Version expected, absl::Duration timeout) {
  CollectedModel model;
  std::vector<SharedTensor> by_shard(layout.shards().size());
  for (const ServerAssignment& server : servers) {
    // Counters first: reading the weights for the model file is no training traffic.
    const absl::StatusOr<TransferCounters> counters = FetchCounters(server, timeout);
    if (!counters.ok()) return Annotate(counters.status(), server.name);
    model.counters.Add(*counters);
    TESSERA_RETURN_IF_ERROR(Annotate(FetchShards(layout, server, expected, timeout, &by_shard), server.name));
  }
  TESSERA_ASSIGN_OR_RETURN(model.tensors, AssembleTensors(layout, by_shard));
  return model;
}

}  // namespace

ModelCollector RpcModelCollector(absl::Duration timeout) {
  return [timeout](const ShardLayout& layout, absl::Span<const ServerAssignment> servers, Version expected) {
    return Collect(layout, servers, expected, timeout);
  };
}

}  // namespace tessera
