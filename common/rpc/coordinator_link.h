// The way to the coordinator, at whichever of its addresses it answers.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/mutex.h"
#include "proto/coordinator_service.grpc.pb.h"

namespace tessera {

// Thread-safe.
class CoordinatorLink {
 public:
  using Stub = wire::CoordinatorService::Stub;

  // `addresses`: host:port, several of them separated by commas. Never blocks.
  explicit CoordinatorLink(const std::string& addresses);

  // Of the address that is tried at present. Stays valid after TryNext.
  std::shared_ptr<Stub> stub() const;
  std::string address() const;
  // It does not answer there: the next address, or the same one by a new connection, which is tried at once
  // (a channel of old waits before it connects again).
  void TryNext();

 private:
  const std::vector<std::string> addresses_;
  mutable Mutex mutex_;
  size_t index_ ABSL_GUARDED_BY(mutex_) = 0;
  std::shared_ptr<Stub> stub_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
