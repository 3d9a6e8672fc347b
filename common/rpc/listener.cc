#include "common/rpc/listener.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <sys/resource.h>

#include "absl/strings/str_cat.h"
#include "common/rpc/address.h"
#include "common/rpc/health_service.h"
#include "common/rpc/limits.h"
#include "common/status.h"

namespace tessera {
namespace {

std::string AdvertisedAddress(const ListenOptions& options, const std::string& bound_host, int port) {
  if (options.advertise.empty()) return absl::StrCat(bound_host, ":", port);
  const absl::StatusOr<HostPort> given = ParseHostPort(options.advertise);
  if (given.ok() && given->port != 0) return options.advertise;
  return absl::StrCat(given.ok() ? given->host : options.advertise, ":", port);
}

bool IsAnyAddress(const std::string& host) { return host == "0.0.0.0" || host == "[::]" || host == "*"; }

// Listening on every address gives others none to dial.
absl::Status CheckReachable(const ListenOptions& options, const HostPort& bind) {
  const absl::StatusOr<HostPort> given = ParseHostPort(options.advertise);
  const std::string host = options.advertise.empty() ? bind.host
                           : given.ok()              ? given->host
                                                     : options.advertise;
  if (!IsAnyAddress(host)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("nobody can reach ", host, ": say with --advertise HOST where this node is reached"));
}

void AllowMostConnections() {
  rlimit files = {};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);  // as many as there were, if it is refused
}

// Reflection is a plugin that gRPC keeps process-wide; it is added once.
void AddReflection() {
  static const bool added = [] {
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    return true;
  }();
  (void)added;
}

}  // namespace

Listener::Listener() : health_(std::make_unique<HealthService>()) {}

Listener::~Listener() { Shutdown(absl::ZeroDuration()); }

absl::StatusOr<std::unique_ptr<Listener>> Listener::Start(
    const ListenOptions& options, const std::vector<grpc::Service*>& services,
    const std::function<void(grpc::ServerBuilder*)>& configure) {
  TESSERA_ASSIGN_OR_RETURN(const HostPort bind, ParseHostPort(options.bind));
  TESSERA_RETURN_IF_ERROR(CheckReachable(options, bind));
  AddReflection();
  AllowMostConnections();
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort(options.bind, grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  builder.SetMaxSendMessageSize(kMaxMessageBytes);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // quiet streams are pinged for ever
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kKeepaliveTimeMs / 2);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxCallsPerConnection);
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  std::unique_ptr<Listener> listener(new Listener());
  builder.RegisterService(listener->health_.get());
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (configure) configure(&builder);
  listener->server_ = builder.BuildAndStart();
  if (listener->server_ == nullptr || port == 0) {
    return absl::AlreadyExistsError(
        absl::StrCat("cannot listen on ", options.bind, ": the port is in use or the address is not ours"));
  }
  listener->port_ = port;
  listener->address_ = AdvertisedAddress(options, bind.host, port);
  return listener;
}

void Listener::Shutdown(absl::Duration grace) {
  if (server_ == nullptr) return;
  server_->Shutdown(absl::ToChronoTime(absl::Now() + grace));
}

}  // namespace tessera
