// The one place where a port is opened: every daemon listens through this, with gRPC reflection and the
// standard health service, on loopback unless told otherwise.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/rpc/limits.h"

namespace grpc {
class Server;
class ServerBuilder;
class Service;
}  // namespace grpc

namespace tessera {

class HealthService;

struct ListenOptions {
  std::string bind = "127.0.0.1:0";  // host:port; port 0 takes a free one
  std::string advertise;             // host or host:port that others reach this at; empty: the bound one
  int max_exchange_streams = kMaxExchangeStreams;  // of a server of shards
};

// A running gRPC server. What a stranger can make it hold is bounded by common/rpc/limits.h. Each connection
// is a file descriptor, and gRPC stops listening for good when there is none left: Start raises the process's
// limit of them to the highest that it may. Not thread-safe, but for address().
class Listener {
 public:
  // `configure` may add completion queues and the like before the server starts.
  // Errors: kInvalidArgument, a malformed address; kAlreadyExists, the port is in use (names it).
  static absl::StatusOr<std::unique_ptr<Listener>> Start(
      const ListenOptions& options, const std::vector<grpc::Service*>& services,
      const std::function<void(grpc::ServerBuilder*)>& configure = {});
  ~Listener();

  const std::string& address() const { return address_; }  // advertised host:port, with the real port
  int port() const { return port_; }
  // Ends all calls by `grace` from now at the latest. Idempotent.
  void Shutdown(absl::Duration grace);

 private:
  Listener();
  const std::unique_ptr<HealthService> health_;  // outlives the server
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
  int port_ = 0;
};

}  // namespace tessera
