// A worker's side of the exchange: one connection to each server; pushes blocks shard by shard, installs what
// comes back. Knows no transport: the caller opens the connections.
//
// What has no answer is kept (OutstandingRequests) and comes through by itself:
// - Not answered in time: a READ is sent again, a push is asked about with its header alone.
// - A connection that breaks is opened again, for as long as the map names its server; after the server's
// hello
//   everything outstanding there is sent again.
// - The map has changed: everything outstanding waits for Adopt and is then sent again under the new term.
// Servers know what they have had (shard, replicas, clock), and what is answered twice is ignored here.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/exchange.h"
#include "common/mutex.h"
#include "common/shard_layout.h"
#include "common/trace/trace_recorder.h"
#include "worker/outstanding_requests.h"
#include "worker/pulled_weights.h"

namespace tessera {

struct ServerPeer {
  std::string name;  // "server 1 (127.0.0.1:4242)", for messages
  int node_id = 0;
  std::vector<ShardId> shards;  // of which it is the primary
  TraceTrack trace = {};        // where the weights that come from it are recorded
  std::string address = {};     // with the node's id: the same server after a change of the map
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
  int64_t rewind = 0;           // the timeline: answers of another are ignored
  absl::Duration first_wait = absl::Milliseconds(300);  // for an answer, until it is asked for again
  absl::Duration lease = absl::Seconds(3);              // such waits double up to this; so long for a hello
  absl::Duration patience = absl::Minutes(10);  // for a server that cannot be reached; may be infinite
  // Asked when that is over: whether to go on waiting, since the job waits for a server itself. Called with a
  // lock held. Empty: no.
  std::function<bool()> parked = {};
};

// Thread-safe. Push and Request never block; what waits for credit stays queued by reference. Connect starts
// one thread, which opens connections and sends again; Close joins it. What is sent for the first time and
// what comes never waits for it.
class ParameterClient {
 public:
  // Some hundred microseconds of a server's time: so much of a backward is not reduced while it runs, at
  // worst.
  static constexpr int64_t kPushTogether = 128 << 10;

  // Opens a connection to `server`; its messages go to `receiver`. Called from the client's thread, also
  // again; must not block.
  using Opener = std::function<std::shared_ptr<ExchangeSender>(const ServerPeer& server,
                                                               std::shared_ptr<ExchangeReceiver>)>;

  // `weights` gets every answer. Errors: kInvalidArgument, a shard that no server or more than one holds.
  static absl::StatusOr<std::unique_ptr<ParameterClient>> Create(ParameterClientOptions options,
                                                                 ShardLayout layout,
                                                                 std::vector<ServerPeer> servers,
                                                                 std::shared_ptr<PulledWeights> weights);
  ~ParameterClient();

  // Opens every connection and waits until every server has said hello. Once.
  // Errors: kDeadlineExceeded, names the servers; kFailedPrecondition, another protocol version; what Fail
  // was told.
  absl::Status Connect(Opener opener, absl::Duration timeout);

  // By the servers' hellos, over all shards: the smallest and the largest clock that the next push of
  // `replica` has, when Connect returned. To begin at the smallest is right whatever happened: shards that
  // are ahead answer what they have had.
  ClockRange NextClock(ReplicaId replica) const;

  // Another map of the same rewind, under which the same replicas run here. Connections to servers that stay
  // (by id and address) stay; all that is outstanding is sent again.
  // Errors: as Create; nothing has changed then.
  absl::Status Adopt(int64_t term, std::vector<ServerPeer> servers);

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
  // Called once for each term, from the client's thread, when a server says that the map has changed. Set
  // before Connect.
  void set_on_stale(std::function<void()> on_stale);

  // Closes every connection; nothing that happens to them afterwards is told to anybody. The destructor's
  // first act.
  void Close();

  int64_t pushed_bytes() const;  // tensor bytes queued
  int64_t pulled_bytes() const;  // tensor bytes received
  int64_t retries() const;       // requests that were sent again

 private:
  class Link;
  // A server of the map.
  struct Peer {
    ServerPeer server;
    std::shared_ptr<Link> link;              // null: there is no connection
    std::shared_ptr<ExchangeSender> sender;  // null: it has not said hello
    std::vector<ClockRange> next_clocks;     // by replica; of its last hello
    // When a connection without a hello is given up; or opened again, where there is none.
    absl::Time until = absl::InfinitePast();
    absl::Duration backoff;  // the next one's
    absl::Time lost_since;   // while there is no sender
    std::string reason;      // why the last connection ended, or ""
  };
  // What the client's thread does outside the lock.
  struct Chores {
    struct Sending {
      std::shared_ptr<ExchangeSender> sender;
      std::vector<ExchangeMessage> messages;
    };
    std::vector<std::shared_ptr<Link>> close;
    std::vector<std::pair<ServerPeer, std::shared_ptr<Link>>> open;
    std::vector<Sending> send;
    std::function<void()> on_stale;  // or empty
    bool empty() const { return close.empty() && open.empty() && send.empty() && !on_stale; }
  };

  ParameterClient(ParameterClientOptions options, ShardLayout layout, std::shared_ptr<PulledWeights> weights);
  // By shard, the index of its primary. Errors: as Create.
  absl::StatusOr<std::vector<size_t>> Place(const std::vector<ServerPeer>& servers) const;
  void SetServersLocked(std::vector<ServerPeer> servers, const std::vector<size_t>& primary)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::unique_ptr<Peer> TakePeerLocked(ServerPeer server) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Peer* FindLocked(const Link* link) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts what came and forgets what it answers.
  void OnWeights(const ExchangeMessage& message);
  void OnDropped(const ExchangeMessage& message);
  void OnUnknown(const ExchangeMessage& message);
  void OnUnavailable(const ExchangeMessage& message);
  void OnStale();
  // From a link's receiver, which holds its lock: it goes before the client's.
  void OnHello(Link* link, std::shared_ptr<ExchangeSender> sender, const ExchangeMessage& hello);
  void OnClosed(Link* link, const absl::Status& reason);
  // The group that an answer is for, or nothing if it names no shard or no replicas of ours.
  std::optional<int> GroupOf(const ExchangeMessage& message) const;
  void LoseLocked(Peer* peer, absl::string_view reason) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FailLocked(absl::Status status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Over all servers, as their hellos told.
  std::vector<ClockRange> NextClocksLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool ConnectedLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::string MissingLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // The client's thread.
  void Run();
  Chores CollectLocked(absl::Time now, absl::Time* next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CollectConnectionLocked(Peer* peer, absl::Time now, absl::Time* next, Chores* chores)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CollectRequestsLocked(Peer* peer, absl::Time now, absl::Time* next, Chores* chores)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Perform(Chores chores);
  ExchangeMessage HelloLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ParameterClientOptions options_;
  const ShardLayout layout_;
  const std::shared_ptr<PulledWeights> weights_;
  Opener opener_;  // set before the thread starts
  std::thread thread_;

  mutable Mutex mutex_;  // guards all that follows; no receiver or sender is called under it
  CondVar changed_;      // for Connect
  CondVar work_;         // for the client's thread
  std::vector<std::unique_ptr<Peer>> peers_ ABSL_GUARDED_BY(mutex_);
  std::vector<Peer*> primary_ ABSL_GUARDED_BY(mutex_);                  // by shard
  std::vector<std::shared_ptr<Link>> retired_ ABSL_GUARDED_BY(mutex_);  // to be closed
  OutstandingRequests requests_ ABSL_GUARDED_BY(mutex_);
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_);
  int64_t term_ ABSL_GUARDED_BY(mutex_);
  bool stale_ ABSL_GUARDED_BY(mutex_) = false;       // a server has another term
  bool stale_told_ ABSL_GUARDED_BY(mutex_) = false;  // to on_stale_
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<ClockRange> next_clocks_ ABSL_GUARDED_BY(mutex_);  // by replica, over all servers
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::function<void()> on_stale_ ABSL_GUARDED_BY(mutex_);
  int64_t pushed_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t pulled_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t retries_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t waiting_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // pushed since the last flush
};

}  // namespace tessera
