#include "common/shared_memory/peer_process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"

namespace tessera {

absl::StatusOr<std::shared_ptr<const PeerProcess>> PeerProcess::Open(int64_t pid) {
  if (pid <= 0 || pid > std::numeric_limits<pid_t>::max()) {
    return absl::UnavailableError(absl::StrCat(pid, " is no process id"));
  }
  FileDescriptor process(static_cast<int>(syscall(SYS_pidfd_open, static_cast<pid_t>(pid), 0)));
  if (!process.valid()) {
    return absl::UnavailableError(absl::StrCat("process ", pid, ": ", std::strerror(errno)));
  }
  return std::shared_ptr<const PeerProcess>(new PeerProcess(pid, std::move(process)));
}

bool PeerProcess::IsAlive() const {
  pollfd ended{process_.get(), POLLIN, 0};
  return poll(&ended, 1, /*timeout=*/0) == 0;
}

}  // namespace tessera
