#include "common/send_queue.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace tessera {

absl::Status SendQueue::Add(ExchangeMessage message, int priority) {
  if (size() >= kMaxQueued || tensor_bytes_ >= kMaxQueuedBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(size(), " messages with ", tensor_bytes_,
                                                     " bytes of tensors wait for a peer that does not read"));
  }
  const size_t message_bytes = message.tensor.size_bytes();
  if (message_bytes == 0 && !message.probe) {
    small_.push_back(std::move(message));
  } else {
    by_priority_[priority].push_back(std::move(message));
    ++tensors_;
    tensor_bytes_ += message_bytes;
  }
  return absl::OkStatus();
}

std::optional<ExchangeMessage> SendQueue::Next() {
  if (!small_.empty()) {
    ExchangeMessage message = std::move(small_.front());
    small_.pop_front();
    return message;
  }
  if (tensors_ == 0 || credit_ <= 0) return std::nullopt;
  auto first = by_priority_.begin();
  ExchangeMessage message = std::move(first->second.front());
  first->second.pop_front();
  if (first->second.empty()) by_priority_.erase(first);
  --tensors_;
  tensor_bytes_ -= message.tensor.size_bytes();
  credit_ -= static_cast<int64_t>(message.tensor.size_bytes());
  return message;
}

int64_t SendQueue::CollectGrant(int64_t bytes) {
  collected_ += bytes;
  return collected_ * 3 >= window_ ? TakeCollected() : 0;
}

int64_t SendQueue::TakeCollected() { return std::exchange(collected_, 0); }

void SendQueue::Clear() {
  small_.clear();
  by_priority_.clear();
  tensors_ = 0;
  tensor_bytes_ = 0;
}

}  // namespace tessera
