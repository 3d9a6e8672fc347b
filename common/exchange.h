// What workers and servers, and servers among themselves, say to each other about shards, and the two ends
// that say it, free of any transport. common/rpc carries it over gRPC, in_process_exchange.h within one
// process; nobody above can tell.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/tensor_bytes.h"
#include "common/types.h"

namespace tessera {

enum class MessageKind {
  kHello,
  kPush,
  kRead,
  kWeights,
  kAck,
  kError,
  kCredit,
  kDropped,
  kPending,
  kUnknown,
  kForward,
  kForwarded,
  kCopy,
  kCopied
};

// Over the shards of a server, the smallest and the largest clock that a replica's next push has.
struct ClockRange {
  Clock first = 0;
  Clock last = 0;
  friend bool operator==(const ClockRange&, const ClockRange&) = default;
};

// What a message between servers says besides (wire::Replication).
struct ReplicationFields {
  int32_t node_id = 0;
  int64_t update_term = 0;
  int32_t group = 0;
  std::vector<ReplicaRange> covered;
  double learning_rate = 0;
  std::string tensor;
  int64_t applied_pushes = 0;
  std::vector<Clock> group_clocks;
  std::vector<Clock> replica_clocks;
  std::vector<int64_t> applied;
  int64_t dropped = 0;
  int32_t pieces = 0;
  friend bool operator==(const ReplicationFields&, const ReplicationFields&) = default;
};

// One message; proto/parameter_service.proto says which fields a kind uses.
struct ExchangeMessage {
  MessageKind kind = MessageKind::kError;
  ShardId shard = 0;
  ReplicaRange replicas;
  Clock clock = 0;
  Version version = 0;
  bool wants_weights = false;
  bool latest = false;
  bool settled = false;
  bool probe = false;
  int64_t credit_bytes = 0;
  int64_t term = 0;
  int64_t rewind = 0;
  int protocol_version = 0;
  std::string node;
  std::vector<ClockRange> next_clocks;                   // kHello of a server: by replica
  absl::Status error;                                    // kError
  TensorBytes tensor;                                    // kPush, kWeights, kForward, kCopy
  std::shared_ptr<const ReplicationFields> replication;  // of messages between servers, else null
  bool may_wait = false;  // others follow soon: it may leave with them, at the latest on Flush(); stays here
  int64_t queued_ns = 0;  // when it was queued, where sending is traced (common/trace); stays here
};

// The sending end of one connection. Thread-safe. Never blocks: messages with a tensor wait in a queue for
// the receiver's credit, in order of priority and then of arrival; all others go ahead of them.
class ExchangeSender {
 public:
  virtual ~ExchangeSender() = default;
  // Lower `priority` goes first. After Close() or the peer's end the message is dropped (OnClosed says so).
  // Must not be called with a lock held that the peer's ExchangeReceiver takes.
  virtual void Send(ExchangeMessage message, int priority = 0) = 0;
  // Sends what waits for others to follow (ExchangeMessage::may_wait).
  virtual void Flush() = 0;
  // Grants the peer `bytes` more of tensor bytes: call when received ones have been consumed.
  virtual void Grant(int64_t bytes) = 0;
  // Ends the connection; what is queued is dropped. OnClosed follows. Idempotent.
  virtual void Close(absl::Status reason) = 0;
};

// The receiving end. Calls come one at a time, from a thread of the transport; they must not block.
class ExchangeReceiver {
 public:
  virtual ~ExchangeReceiver() = default;
  virtual void OnMessage(ExchangeMessage message) = 0;
  // The connection is over; the last call. OK: an orderly end.
  virtual void OnClosed(absl::Status reason) = 0;
};

// Bytes of tensors that a receiver lets be under way to it at once: few, so that they stay in the cache, but
// at least three shards, so that the wire never idles.
int64_t CreditWindow(int64_t shard_bytes);

}  // namespace tessera
