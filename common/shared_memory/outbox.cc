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

void Outbox::Withhold(const Reader& reader, uint64_t link, std::vector<std::shared_ptr<const void>> tensors) {
  if (!tensors.empty()) {
    MutexLock lock(&mutex_);
    withheld_.push_back({reader, link, std::move(tensors)});
    any_withheld_ = true;
    ++withholdings_;
  }
  ReleaseDead();
}

std::vector<uint64_t> Outbox::LinksWithheldFrom(const Reader& reader) const {
  std::vector<uint64_t> links;
  MutexLock lock(&mutex_);
  for (const Withheld& held : withheld_) {
    if (held.Is(reader)) links.push_back(held.link);
  }
  return links;
}

void Outbox::Release(const Reader& reader, uint64_t link) {
  ReleaseIf([&](const Withheld& held) { return held.link == link && held.Is(reader); });
}

void Outbox::ReleaseDead() {
  if (!any_withheld_) return;
  ReleaseIf([](const Withheld& held) { return !held.reader.process->IsAlive(); });
}

void Outbox::ReleaseIf(const std::function<bool(const Withheld&)>& is_free) {
  std::vector<Withheld> released;
  MutexLock lock(&mutex_);
  const auto free = std::partition(withheld_.begin(), withheld_.end(),
                                   [&](const Withheld& held) { return !is_free(held); });
  released.assign(std::make_move_iterator(free), std::make_move_iterator(withheld_.end()));
  withheld_.erase(free, withheld_.end());
  any_withheld_ = !withheld_.empty();
}

size_t Outbox::withheld() const {
  MutexLock lock(&mutex_);
  size_t tensors = 0;
  for (const Withheld& held : withheld_) tensors += held.tensors.size();
  return tensors;
}

}  // namespace tessera
