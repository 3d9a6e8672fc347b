// What the command asks servers: how far they are.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace tessera::cli {

// Not thread-safe.
class ServerClients {
 public:
  ServerClients();
  ~ServerClients();

  // The smallest number of minibatches of any replica that a shard of these servers has applied; nothing when
  // none of them has shards and answers. Each is asked for at most `timeout`.
  std::optional<int64_t> AppliedStep(const std::vector<std::string>& addresses, absl::Duration timeout);

 private:
  struct Stub;                                          // keeps gRPC's headers out of here
  std::map<std::string, std::unique_ptr<Stub>> stubs_;  // by address
};

}  // namespace tessera::cli
