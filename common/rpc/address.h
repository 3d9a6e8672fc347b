// host:port as people write it.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace tessera {

struct HostPort {
  std::string host;  // a name, an IPv4 address, or an IPv6 address in brackets
  int port = 0;
};

// Errors: kInvalidArgument, no HOST:PORT, or a port outside 0..65535.
absl::StatusOr<HostPort> ParseHostPort(const std::string& text);

}  // namespace tessera
