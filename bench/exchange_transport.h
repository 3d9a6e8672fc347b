// The real exchange between two processes: here the worker's ParameterClient and PulledWeights, there the
// server's ParameterService and ParameterStore; one replica, in sync, weights and gradients of no meaning.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tessera::bench {

struct ExchangeOptions {
  enum class Direction {
    kPush,      // rounds of gradients that the store applies and acknowledges
    kPull,      // reads of the newest version that are installed in PulledWeights
    kExchange,  // pushes answered with the next version, as in training; bytes of both ways count
  };
  Direction direction = Direction::kPush;
  int64_t model_bytes = 64 << 20;  // in layers of at most 4 MiB
  int64_t shard_bytes = 512 * 1024;
  std::string optimizer = "momentum";
  int rounds_under_way = 2;  // of the whole model
  // Gradients and versions lie where the other process reads them; else all goes over TCP.
  bool shared_memory = false;
  absl::Duration duration = absl::Milliseconds(500);
};

// Bytes of tensors a second. To be called before this process has a thread, and once: gRPC does not survive a
// fork. Errors: kInvalidArgument, no such optimizer; kUnavailable, shared memory is wanted and there is none,
// or not all tensors went through it; those of the client and the server; kDeadlineExceeded.
absl::StatusOr<double> ExchangeRate(const ExchangeOptions& options);

}  // namespace tessera::bench
