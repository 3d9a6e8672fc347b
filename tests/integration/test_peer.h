// A client of one server that records every message in order and lets a test wait for them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "common/exchange.h"
#include "common/mutex.h"
#include "common/protocol.h"

namespace tessera {

// Thread-safe.
class RecordingPeer : public ExchangeReceiver {
 public:
  void OnMessage(ExchangeMessage message) override {
    MutexLock lock(&mutex_);
    messages_.push_back(std::move(message));
    changed_.NotifyAll();
  }
  void OnClosed(absl::Status reason) override {
    MutexLock lock(&mutex_);
    closed_ = true;
    reason_ = std::move(reason);
    changed_.NotifyAll();
  }

  // Waits until `count` messages have come or the connection has ended; at most 20 s.
  std::vector<ExchangeMessage> WaitForMessages(size_t count) {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (messages_.size() < count && !closed_ && absl::Now() < deadline) {
      changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    }
    return messages_;
  }

  // The reason the connection ended with; kDeadlineExceeded when it did not within 20 s.
  absl::Status WaitForEnd() {
    MutexLock lock(&mutex_);
    const absl::Time deadline = absl::Now() + absl::Seconds(20);
    while (!closed_ && absl::Now() < deadline) changed_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    return closed_ ? reason_ : absl::DeadlineExceededError("still open");
  }

 private:
  Mutex mutex_;
  CondVar changed_;
  std::vector<ExchangeMessage> messages_ ABSL_GUARDED_BY(mutex_);
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status reason_ ABSL_GUARDED_BY(mutex_);
};

inline ExchangeMessage Hello(int protocol_version = kProtocolVersion,
                             int64_t credit_bytes = int64_t{1} << 30) {
  ExchangeMessage hello;
  hello.kind = MessageKind::kHello;
  hello.protocol_version = protocol_version;
  hello.node = "test client";
  hello.credit_bytes = credit_bytes;
  return hello;
}

inline ExchangeMessage Read(ShardId shard, ReplicaId replica, Clock clock) {
  ExchangeMessage read;
  read.kind = MessageKind::kRead;
  read.shard = shard;
  read.replicas = {replica, replica};
  read.clock = clock;
  read.term = 1;
  return read;
}

inline ExchangeMessage Push(ShardId shard, ReplicaRange replicas, Clock clock, size_t length, float value) {
  auto gradient = std::make_shared<TensorBuffer>(length);
  for (float& element : gradient->span()) element = value;
  ExchangeMessage push;
  push.kind = MessageKind::kPush;
  push.shard = shard;
  push.replicas = replicas;
  push.clock = clock;
  push.term = 1;
  push.wants_weights = true;
  push.tensor = TensorBytes(std::move(gradient));
  return push;
}

}  // namespace tessera
