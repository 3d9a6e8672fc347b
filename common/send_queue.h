// The order in which one connection sends: small messages at once, tensors by priority while the receiver's
// credit lasts. A pure state machine; its owner holds the lock.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>

#include "common/exchange.h"

namespace tessera {

// A question about a push (`probe`) is no bigger than other small messages, but keeps its place behind the
// push itself: a server that has not seen that one yet would say that it never came.
//
// Credit is in tensor bytes. A tensor may be sent while credit is above zero, and may take it below by less
// than one message; so a message larger than the whole credit is late but never stuck.
class SendQueue {
 public:
  // A queue this long means a peer that reads nothing and asks for ever more.
  static constexpr size_t kMaxQueued = 1 << 16;
  static constexpr size_t kMaxQueuedBytes = size_t{2} << 30;

  // Errors: kResourceExhausted, kMaxQueued messages or kMaxQueuedBytes of tensors wait already.
  absl::Status Add(ExchangeMessage message, int priority);
  // The peer consumed `bytes` (>= 0). What a peer grants is capped, so that no peer can overflow it.
  void AddCredit(int64_t bytes) { credit_ = std::min(credit_ + std::min(bytes, kMaxCredit), kMaxCredit); }
  bool HasNext() const { return !small_.empty() || (tensors_ > 0 && credit_ > 0); }
  // The next message that may go now; takes its credit.
  std::optional<ExchangeMessage> Next();

  // Our own grants to the peer: collected, and sent as one message when they amount to something.
  // Returns the bytes to tell the peer now, or 0.
  int64_t CollectGrant(int64_t bytes);
  // Bytes collected but not told yet, for a message that is about to go anyway.
  int64_t TakeCollected();
  // Sets the size of the first grant; later ones are told in thirds of it.
  void set_window(int64_t bytes) { window_ = bytes; }

  size_t size() const { return small_.size() + tensors_; }
  // Those without a tensor.
  size_t small() const { return small_.size(); }
  void Clear();

 private:
  std::deque<ExchangeMessage> small_;
  std::map<int, std::deque<ExchangeMessage>> by_priority_;
  static constexpr int64_t kMaxCredit = int64_t{1} << 40;
  size_t tensors_ = 0;
  size_t tensor_bytes_ = 0;
  int64_t credit_ = 0;
  int64_t window_ = 0;
  int64_t collected_ = 0;
};

}  // namespace tessera
