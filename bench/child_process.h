// A second process of a benchmark, and the socket between the two.
#pragma once

#include <sys/types.h>

#include <functional>

#include "absl/status/statusor.h"

namespace tessera::bench {

// The destructor closes the socket, which ends the child, and waits for it. Not thread-safe.
class ChildProcess {
 public:
  // Forks: `body` runs in the child, with its end of a stream socket, and the child ends after it. To be
  // called before this process has a thread. The child dies with its parent. Errors: kUnavailable, the system
  // says no.
  static absl::StatusOr<ChildProcess> Start(const std::function<void(int socket)>& body);
  ChildProcess(ChildProcess&& other) noexcept;
  ~ChildProcess();

  int socket() const { return socket_; }

 private:
  ChildProcess(pid_t pid, int socket) : pid_(pid), socket_(socket) {}
  pid_t pid_;
  int socket_;
};

// Exactly `size` bytes. Errors: kUnavailable, the other end is gone.
absl::Status ReadAll(int socket, void* out, size_t size);
absl::Status WriteAll(int socket, const void* data, size_t size);

}  // namespace tessera::bench
