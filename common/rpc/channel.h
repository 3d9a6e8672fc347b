// The one place where a client's channel is made: keepalive, reconnect backoff and message limits in one set
// of options.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace tessera {

// A channel to host:port. Never blocks; a channel of its own connection (not shared with others to the same
// address).
std::shared_ptr<grpc::Channel> CreateChannel(const std::string& address);

// Every unary call has a deadline: `timeout` from now.
void SetDeadline(grpc::ClientContext* context, absl::Duration timeout);

}  // namespace tessera
