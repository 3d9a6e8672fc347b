// Ctrl-C and its kin as something to poll, instead of handlers that interrupt.
#pragma once

#include <signal.h>

#include <optional>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace tessera::cli {

// Blocks SIGINT, SIGTERM and SIGHUP for this thread, and for threads made later, and delivers them through
// fd(). SIGPIPE is ignored from then on. To be made before any thread is; one at a time. Restores the mask
// when destroyed.
class SignalWatch {
 public:
  static absl::StatusOr<SignalWatch> Create();
  ~SignalWatch();
  SignalWatch(SignalWatch&& other) noexcept;
  SignalWatch& operator=(SignalWatch&&) = delete;

  // Readable when a signal has come.
  int fd() const { return fd_.get(); }
  // The next signal that has come, once each. Never blocks.
  std::optional<int> Take();

 private:
  SignalWatch(FileDescriptor fd, const sigset_t& old_mask);
  FileDescriptor fd_;
  sigset_t old_mask_;
};

}  // namespace tessera::cli
