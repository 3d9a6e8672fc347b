#include "cli/server_clients.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "common/rpc/channel.h"
#include "proto/parameter_service.grpc.pb.h"

namespace tessera::cli {

struct ServerClients::Stub {
  explicit Stub(const std::string& address)
      : service(wire::ParameterService::NewStub(CreateChannel(address))) {}
  std::unique_ptr<wire::ParameterService::Stub> service;
};

ServerClients::ServerClients() = default;
ServerClients::~ServerClients() = default;

std::optional<int64_t> ServerClients::AppliedStep(const std::vector<std::string>& addresses,
                                                  absl::Duration timeout) {
  std::optional<int64_t> step;
  for (const std::string& address : addresses) {
    std::unique_ptr<Stub>& stub = stubs_[address];
    if (stub == nullptr) stub = std::make_unique<Stub>(address);
    grpc::ClientContext context;
    SetDeadline(&context, timeout);
    wire::ServerStats stats;
    if (!stub->service->GetStats(&context, wire::GetStatsRequest(), &stats).ok()) continue;
    for (const int64_t applied : stats.applied_min()) step = std::min(step.value_or(applied), applied);
  }
  return step;
}

}  // namespace tessera::cli
