// Serves ParameterService over gRPC: Exchange streams as raw bytes on completion queues with threads of ours,
// and the small calls by synchronous handlers, whose threads poll no connection: the callback API's would
// read tensors in turn with ours (common/rpc/health_service.h).
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "common/fault/link_faults.h"
#include "common/rpc/listener.h"
#include "common/shared_memory/outbox.h"
#include "common/trace/trace_recorder.h"
#include "server/parameter_service.h"

namespace tessera {

// Owns the listener and its threads. Shutdown (or the destructor) ends all streams and joins them.
class GrpcExchangeServer {
 public:
  // `threads` completion queues with a thread each serve the streams. `recorder`, if any, gets their trace
  // and outlives this object. Of the answers `faults`, if any, loses some. A stream beyond
  // `options.max_exchange_streams` ends with RESOURCE_EXHAUSTED. Errors: those of Listener::Start.
  static absl::StatusOr<std::unique_ptr<GrpcExchangeServer>> Start(
      const ListenOptions& options, std::shared_ptr<ParameterService> service, int threads,
      TraceRecorder* recorder = nullptr, std::shared_ptr<LinkFaults> faults = nullptr);
  ~GrpcExchangeServer();

  // Tensors that lie in `outbox` go to clients of this machine by reference: to those whose hello is answered
  // after this. Thread-safe.
  void set_outbox(std::shared_ptr<Outbox> outbox);

  const std::string& address() const;
  void Shutdown();

 private:
  struct Impl;
  class Connection;
  explicit GrpcExchangeServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tessera
