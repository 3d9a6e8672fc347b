// Another process of this machine, or this one: is it still there? A pid may come back, this does not.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace tessera {

// Thread-safe.
class PeerProcess {
 public:
  // Errors: kUnavailable, no such process, or a kernel before 5.3.
  static absl::StatusOr<std::shared_ptr<const PeerProcess>> Open(int64_t pid);

  // Tells it from every other process that lives.
  int64_t pid() const { return pid_; }
  // False once all its threads have ended.
  bool IsAlive() const;

 private:
  PeerProcess(int64_t pid, FileDescriptor process) : pid_(pid), process_(std::move(process)) {}
  const int64_t pid_;
  const FileDescriptor process_;
};

}  // namespace tessera
