// The one place where a client's channel is made: keepalive, reconnect backoff and message limits in one set
// of options.
#pragma once

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/fault/link_faults.h"

namespace grpc {
class Channel;
class ClientContext;
}  // namespace grpc

namespace tessera {

// A channel to host:port. Never blocks; a channel of its own connection (not shared with others to the same
// address).
// Of its unary calls `faults`, if any, loses some.
std::shared_ptr<grpc::Channel> CreateChannel(const std::string& address,
                                             std::shared_ptr<LinkFaults> faults = nullptr);

// Every unary call has a deadline: `timeout` from now.
void SetDeadline(grpc::ClientContext* context, absl::Duration timeout);

}  // namespace tessera
