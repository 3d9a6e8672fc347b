// A worker's side of the exchange: one connection to each server; pushes blocks shard by shard, installs what
// comes back. Knows no transport: the caller opens the connections.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/exchange.h"
#include "common/mutex.h"
#include "common/shard_layout.h"
#include "common/trace/trace_recorder.h"
#include "worker/pulled_weights.h"

namespace tessera {

struct ServerPeer {
  std::string name;  // "server 1 (127.0.0.1:4242)", for messages
  int node_id = 0;
  std::vector<ShardId> shards;  // of which it is the primary
  TraceTrack trace = {};        // where the weights that come from it are recorded
};

// What a push is answered with.
enum class PushReply {
  kAcknowledgement,
  kWeights,         // for the next minibatch, as soon as the consistency policy lets these replicas read them
  kSettledWeights,  // likewise, but only when every group has applied every round so far: the last ones of a
                    // run
};

struct ParameterClientOptions {
  std::string node;  // "worker 0", for the servers' messages
  int64_t term = 0;
  bool may_be_dropped = false;  // drop_stragglers: else a drop is an error of the server's
};

// Thread-safe. Push and Request never block; what waits for credit stays queued by reference.
class ParameterClient {
 public:
  // Some hundred microseconds of a server's time: so much of a backward is not reduced while it runs, at
  // worst.
  static constexpr int64_t kPushTogether = 128 << 10;

  // Opens a connection to peer `server`; its messages go to `receiver`.
  using Opener =
      std::function<std::shared_ptr<ExchangeSender>(size_t server, std::shared_ptr<ExchangeReceiver>)>;

  // `weights` gets every answer. Errors: kInvalidArgument, a shard that no server or more than one holds.
  static absl::StatusOr<std::unique_ptr<ParameterClient>> Create(ParameterClientOptions options,
                                                                 ShardLayout layout,
                                                                 std::vector<ServerPeer> servers,
                                                                 std::shared_ptr<PulledWeights> weights);
  ~ParameterClient();

  // Opens every connection and waits until every server has said hello.
  // Errors: kDeadlineExceeded, names the server; kFailedPrecondition, another protocol version; kUnavailable.
  absl::Status Connect(const Opener& opener, absl::Duration timeout);

  // Asks for the weights for minibatch `clock` that have not come yet, on behalf of the replicas of `group`
  // (an index into PulledWeights::groups()), the first layers first. `settled`: as
  // PushReply::kSettledWeights.
  void Request(int group, Clock clock, bool settled);

  // Queues the gradient of a block, shard by shard, by reference; `replicas` are some of `group`. Blocks that
  // the next forward needs first go first. Small blocks may wait for each other, until there are
  // kPushTogether bytes or Flush().
  void Push(int group, int block, ReplicaRange replicas, Clock clock,
            std::shared_ptr<const TensorBuffer> gradient, PushReply reply);

  // Sends what was pushed and still waits: after the last push of a step.
  void Flush();

  // Everything that waits ends with `status`. The first failure counts.
  void Fail(absl::Status status);
  // Called once, from a transport's thread, for the first connection that breaks while nothing else has
  // failed.
  void set_on_lost(std::function<void(const ServerPeer&)> on_lost);

  // Closes every connection; nothing that happens to them afterwards is told to anybody. The destructor's
  // first act.
  void Close();

  int64_t pushed_bytes() const;  // tensor bytes queued
  int64_t pulled_bytes() const;  // tensor bytes received

 private:
  class Peer;
  ParameterClient(ParameterClientOptions options, ShardLayout layout, std::shared_ptr<PulledWeights> weights);
  void OnHello(absl::Status status);
  void OnLost(const ServerPeer& peer, const absl::Status& reason);
  ExchangeMessage Header(MessageKind kind, ShardId shard, ReplicaRange replicas, Clock clock) const;

  const ParameterClientOptions options_;
  const ShardLayout layout_;
  const std::shared_ptr<PulledWeights> weights_;
  std::vector<std::shared_ptr<Peer>> peers_;
  std::vector<Peer*> primary_;  // by shard

  mutable Mutex mutex_;
  CondVar changed_;
  size_t greeted_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const ServerPeer&)> on_lost_ ABSL_GUARDED_BY(mutex_);
  int64_t pushed_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t pulled_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // pushed since the last flush
};

}  // namespace tessera
