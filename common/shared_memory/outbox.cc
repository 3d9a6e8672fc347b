#include "common/shared_memory/outbox.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "common/status.h"

namespace tessera {

absl::StatusOr<std::shared_ptr<Outbox>> Outbox::Create(size_t tensor_bytes) {
  TESSERA_ASSIGN_OR_RETURN(std::shared_ptr<SharedSegment> segment, SharedSegment::Create(tensor_bytes));
  return std::shared_ptr<Outbox>(new Outbox(std::move(segment)));
}

Outbox::Outbox(std::shared_ptr<SharedSegment> segment) : segment_(std::move(segment)) {}

void Outbox::Withhold(std::shared_ptr<const PeerProcess> peer,
                      std::vector<std::shared_ptr<const void>> tensors) {
  if (!tensors.empty()) {
    MutexLock lock(&mutex_);
    withheld_.push_back({std::move(peer), std::move(tensors)});
    any_withheld_ = true;
  }
  ReleaseDead();
}

void Outbox::ReleaseDead() {
  if (!any_withheld_) return;
  std::vector<Withheld> released;
  MutexLock lock(&mutex_);
  const auto dead = std::partition(withheld_.begin(), withheld_.end(),
                                   [](const Withheld& held) { return held.peer->IsAlive(); });
  released.assign(std::make_move_iterator(dead), std::make_move_iterator(withheld_.end()));
  withheld_.erase(dead, withheld_.end());
  any_withheld_ = !withheld_.empty();
}

size_t Outbox::withheld() const {
  MutexLock lock(&mutex_);
  size_t tensors = 0;
  for (const Withheld& held : withheld_) tensors += held.tensors.size();
  return tensors;
}

}  // namespace tessera
