#include "common/rpc/coordinator_link.h"

#include <grpcpp/channel.h>

#include "absl/strings/str_split.h"
#include "common/rpc/channel.h"

namespace tessera {

CoordinatorLink::CoordinatorLink(const std::string& addresses)
    : addresses_(absl::StrSplit(addresses, ',')),
      stub_(wire::CoordinatorService::NewStub(CreateChannel(addresses_.front()))) {}

std::shared_ptr<CoordinatorLink::Stub> CoordinatorLink::stub() const {
  MutexLock lock(&mutex_);
  return stub_;
}

std::string CoordinatorLink::address() const {
  MutexLock lock(&mutex_);
  return addresses_[index_];
}

void CoordinatorLink::TryNext() {
  MutexLock lock(&mutex_);
  index_ = (index_ + 1) % addresses_.size();
  stub_ = wire::CoordinatorService::NewStub(CreateChannel(addresses_[index_]));
}

}  // namespace tessera
