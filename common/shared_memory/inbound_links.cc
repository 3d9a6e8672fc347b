#include "common/shared_memory/inbound_links.h"

#include <random>

namespace tessera {

uint64_t NewLinkId() {
  std::random_device device;
  uint64_t id = 0;
  while (id == 0) id = (uint64_t{device()} << 32) | device();
  return id;
}

InboundLinks::InboundLinks() : id_(NewLinkId()) {}

void InboundLinks::Add(int64_t pid, uint64_t link) {
  MutexLock lock(&mutex_);
  links_.emplace(pid, link);
}

void InboundLinks::Remove(int64_t pid, uint64_t link) {
  MutexLock lock(&mutex_);
  const auto found = links_.find({pid, link});
  if (found != links_.end()) links_.erase(found);
}

bool InboundLinks::Contains(int64_t pid, uint64_t link) const {
  MutexLock lock(&mutex_);
  return links_.count({pid, link}) > 0;
}

size_t InboundLinks::size() const {
  MutexLock lock(&mutex_);
  return links_.size();
}

}  // namespace tessera
