// The floors of a transport on this machine: what the kernel's sockets carry between two processes, and a
// copy.
#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace tessera::bench {

struct BareOptions {
  size_t write_bytes = 256 * 1024;  // of each write and read
  size_t payload_bytes =
      256 * 1024;  // what is written and read over and over: from here to there; at least write_bytes
  int socket_buffer_bytes = 0;  // of each end; 0: the kernel's own choice
  absl::Duration duration = absl::Milliseconds(500);
};

// Bytes a second through a connected pair of sockets between two processes, written at one end and read at
// the other. To be called before this process has a thread. Errors: kUnavailable, the system says no.
absl::StatusOr<double> BareTcpRate(const BareOptions& options);
absl::StatusOr<double> BareUnixRate(const BareOptions& options);

// Bytes a second that one thread copies, from `bytes` to as many others.
double CopyRate(int64_t bytes, absl::Duration duration);

}  // namespace tessera::bench
