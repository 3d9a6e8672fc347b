#include "cli/signal_watch.h"

#include <string.h>
#include <sys/signalfd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tessera::cli {

absl::StatusOr<SignalWatch> SignalWatch::Create() {
  sigset_t watched, old_mask;
  sigemptyset(&watched);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&watched, signal);
  if (const int error = pthread_sigmask(SIG_BLOCK, &watched, &old_mask); error != 0) {
    return absl::UnavailableError(absl::StrCat("cannot block signals: ", strerror(error)));
  }
  FileDescriptor fd(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) {
    const int error = errno;
    pthread_sigmask(SIG_SETMASK, &old_mask, nullptr);
    return absl::UnavailableError(absl::StrCat("cannot watch signals: ", strerror(error)));
  }
  // A closed stdout must not end us before the children are stopped.
  signal(SIGPIPE, SIG_IGN);
  return SignalWatch(std::move(fd), old_mask);
}

SignalWatch::SignalWatch(FileDescriptor fd, const sigset_t& old_mask)
    : fd_(std::move(fd)), old_mask_(old_mask) {}

SignalWatch::SignalWatch(SignalWatch&& other) noexcept = default;

SignalWatch::~SignalWatch() {
  if (fd_.valid()) pthread_sigmask(SIG_SETMASK, &old_mask_, nullptr);
}

std::optional<int> SignalWatch::Take() {
  signalfd_siginfo info;
  if (read(fd_.get(), &info, sizeof(info)) != sizeof(info)) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace tessera::cli
