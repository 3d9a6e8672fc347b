// The standard health service. gRPC's own is served by the callback API, whose threads poll every connection
// of the process: they read tensors in turn with the completion queues' threads, and each message changes
// cores on its way (docs/performance.md has the cost). This one polls nothing.
#pragma once

#include "proto/health.grpc.pb.h"

namespace tessera {

// Thread-safe. A server that answers serves. Watch is UNIMPLEMENTED: a server here is healthy as long as it
// lives.
class HealthService : public grpc::health::v1::Health::Service {
 public:
  // NOT_FOUND for the name of any service but the whole server's, the empty one.
  grpc::Status Check(grpc::ServerContext* context, const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override;
};

}  // namespace tessera
