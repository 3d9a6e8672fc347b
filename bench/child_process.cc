#include "bench/child_process.h"

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <utility>

namespace tessera::bench {

absl::StatusOr<ChildProcess> ChildProcess::Start(const std::function<void(int socket)>& body) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::UnavailableError("no socket pair");
  }
  const pid_t pid = fork();
  if (pid < 0) return absl::UnavailableError("no child process");
  if (pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    close(ends[0]);
    body(ends[1]);
    _exit(0);
  }
  close(ends[1]);
  return ChildProcess(pid, ends[0]);
}

ChildProcess::ChildProcess(ChildProcess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), socket_(std::exchange(other.socket_, -1)) {}

ChildProcess::~ChildProcess() {
  if (socket_ >= 0) close(socket_);
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
}

absl::Status ReadAll(int socket, void* out, size_t size) {
  for (auto* target = static_cast<char*>(out); size > 0;) {
    const ssize_t got = read(socket, target, size);
    if (got <= 0) return absl::UnavailableError("the other process is gone");
    target += got;
    size -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

absl::Status WriteAll(int socket, const void* data, size_t size) {
  for (const auto* source = static_cast<const char*>(data); size > 0;) {
    const ssize_t sent = send(socket, source, size, MSG_NOSIGNAL);
    if (sent <= 0) return absl::UnavailableError("the other process is gone");
    source += sent;
    size -= static_cast<size_t>(sent);
  }
  return absl::OkStatus();
}

}  // namespace tessera::bench
