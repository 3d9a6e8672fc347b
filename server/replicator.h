// Brings what the primaries of a store do to their backups, and to servers that are to become backups. Knows
// no transport: the caller opens the connections, one to each of those servers. docs/adr/0011-replication.md.
//
// Of each shard and server there is a course:
// - The server is asked what it has. Where that is what is here, it follows; else it gets a copy, taken
//   between two updates, and follows from there.
// - Who follows gets every update, in order. What it says it has is released (ParameterStore::OnHas), and
//   forgotten here; all else is kept.
// - Not answered in time: it is asked again what it has, with a header alone, and what is missing is sent
//   again.
// - A connection that breaks is opened again, and everything that is kept is sent again; so it is under a new
//   map. Who missed a map in between asks everybody anew: under that one another was maybe the primary.
// - A server that says nothing at all, a lease long, to what it is asked has its connection broken and opened
//   again, and it is told of: as long as it lives for the coordinator, what it is a backup of waits for it.
// - Who is further behind than is kept is asked again, and copied: kMaxKept updates of a shard, and
//   `max_kept_bytes` for all of a server.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/exchange.h"
#include "common/mutex.h"
#include "server/parameter_store.h"
#include "server/shard_replication.h"

namespace tessera {

// Another server of the map, and what of this one's shards it holds.
struct BackupPeer {
  NodeId node_id = 0;
  std::string name;     // "server 1", for messages
  std::string address;  // with the node's id: the same server after a change of the map
  std::vector<ShardId> backups;
  std::vector<ShardId> joining;  // that it is to get
};

struct ReplicatorOptions {
  std::string node;    // "server 0", for the other servers' messages
  NodeId node_id = 0;  // of this server
  // For an answer, until it is asked for again. Sooner, when answers usually come sooner: after four times
  // what they took of late, but not before `shortest_wait`. To ask costs a header alone.
  absl::Duration first_wait = absl::Milliseconds(200);
  absl::Duration shortest_wait = absl::Milliseconds(20);
  absl::Duration lease = absl::Seconds(3);    // such waits double up to this; so long for a hello
  size_t max_kept_bytes = size_t{256} << 20;  // or two rounds of all shards, if that is more
  // The store has opened (ParameterStore::open). Called without locks held, from any thread that brings an
  // answer.
  std::function<void()> on_open;
  // A copy is complete (Replicator::copied). As on_open.
  std::function<void()> on_copied;
  // A server that others wait for says nothing, or speaks again: a line for the log. From the replicator's
  // thread.
  std::function<void(const std::string&)> on_silence;
};

// Thread-safe. Start begins a thread, which opens connections, asks, copies and sends again; Close joins it.
// Updates are sent by whoever makes them.
class Replicator : public ForwardSink {
 public:
  static constexpr size_t kMaxKept = 256;  // updates of one shard for one server
  static constexpr int kMostCopies = 4;    // to one server at once

  // Opens a connection to `peer`; its messages go to the receiver. Called from the replicator's thread, also
  // again; must not block.
  using Opener = std::function<std::shared_ptr<ExchangeSender>(const BackupPeer& peer,
                                                               std::shared_ptr<ExchangeReceiver>)>;

  explicit Replicator(ReplicatorOptions options);
  ~Replicator() override;

  // Once.
  void Start(Opener opener);

  // From now on the primaries of `store`, whose duties under map `term` are set already, have these peers.
  // What is known of those that stay is kept, unless the store is another or `term` is not the next after the
  // last one's. Null, or no peers: nobody is told anything.
  void SetMap(const std::shared_ptr<ParameterStore>& store, int64_t term, int64_t rewind,
              std::vector<BackupPeer> peers);

  // Servers that have said nothing for a lease to what they were asked, nor since.
  std::vector<NodeId> silent() const;
  // Copies to joining servers that are complete, and that release waits for from now on: {shard, node}.
  std::vector<std::pair<ShardId, NodeId>> copied() const;

  void Add(ShardForward forward) override;
  void Flush(ShardId shard) override;

  // Closes every connection. The destructor's first act.
  void Close();

  int64_t forwarded_bytes() const;  // tensor bytes of updates and copies sent, repeated ones included

 private:
  class Link;

  // An update, or a piece of a copy, that brings a shard to `made`.
  struct Kept {
    ShardMark made;
    ExchangeMessage message;
  };
  enum class Stage {
    kAsk,      // to be asked what it has
    kAsked,    // if that is `base`, it follows
    kCopy,     // to be copied
    kCopying,  // to `base`
    kFollows,  // it has `base`
  };
  // Of a shard at a peer.
  struct Course {
    bool joining = false;
    bool joined = false;
    Stage stage = Stage::kAsk;
    bool confirm = false;  // to be asked, since the map or the connection is another
    ShardMark base;
    std::deque<Kept> kept;  // in order; what follows `base`, and before it the pieces that make it
    size_t sent = 0;        // of them
    size_t kept_bytes = 0;
    absl::Time sent_at;                     // the first of them
    bool asked = false;                     // since: then nobody knows which is answered
    Version sent_before_question = 0;       // of the last question: what it has not of these is lost
    absl::Duration wait;                    // the next one's
    absl::Time due = absl::InfinitePast();  // kAsk, kCopy: not before; else when it is asked again
  };
  // A server of the map.
  struct Peer {
    BackupPeer peer;
    std::shared_ptr<Link> link;              // null: there is no connection
    std::shared_ptr<ExchangeSender> sender;  // null: it has not said hello
    absl::Time until =
        absl::InfinitePast();  // when a connection without a hello is given up, or opened again
    absl::Duration backoff;
    std::map<ShardId, Course> courses;
    std::set<ShardId> unsent;  // courses with something to send
    bool sending = false;      // by some thread, which takes what comes meanwhile
    size_t kept_bytes = 0;
    absl::Duration answer_time;                    // to updates, smoothed; zero: not known
    absl::Time asked_at = absl::InfiniteFuture();  // the first question since it was heard last
    // So long it may say nothing: the lease, and twice as long after each connection on which it did not
    // speak, since the wire may be slow.
    absl::Duration patience;
    bool silent = false;  // that was told
  };
  using Peers = std::vector<std::shared_ptr<Peer>>;
  // What the thread does outside the lock.
  struct Chores {
    std::vector<std::shared_ptr<Link>> close;
    std::vector<std::pair<BackupPeer, std::shared_ptr<Link>>> open;
    std::vector<std::pair<std::shared_ptr<Peer>, ShardId>> ask;
    std::vector<std::pair<std::shared_ptr<Peer>, ShardId>> copy;
    Peers send;
    std::vector<std::string> news;
    bool empty() const {
      return close.empty() && open.empty() && ask.empty() && copy.empty() && send.empty() && news.empty();
    }
  };

  // From a link's receiver, which holds its lock: it goes before the replicator's.
  void OnHello(Link* link, std::shared_ptr<ExchangeSender> sender);
  void OnClosed(Link* link);
  void OnMark(Link* link, const ExchangeMessage& answer);
  void OnRefused(Link* link, const ExchangeMessage& answer);

  std::shared_ptr<Peer> FindLocked(const Link* link) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  Course* FindCourseLocked(ShardId shard, NodeId node) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::shared_ptr<Peer> TakePeerLocked(BackupPeer peer, bool keep) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // After a change of the map, or of the connection: everything is sent again.
  void BeginAgainLocked(Peer* peer, bool new_term) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void LoseLocked(Peer* peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It has spoken.
  void HearLocked(Peer* peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // It has not, for its patience: the connection is given up.
  void GiveUpLocked(Peer* peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void KeepLocked(Peer* peer, Course* course, Kept kept) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ForgetLocked(Peer* peer, Course* course, size_t count) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RestartLocked(Peer* peer, ShardId shard, Stage stage, absl::Duration delay)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SendAgainLocked(Peer* peer, ShardId shard) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration FirstWaitLocked(const Peer& peer) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WaitLocked(Course* course, absl::Duration wait) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // What `answer` says is taken in of a course that has it.
  void FollowLocked(Peer* peer, ShardId shard, size_t had, bool probe) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Takes in that `peer` has `mark`. True: it is one of this course, all up to it is there.
  bool TakeMarkLocked(Peer* peer, ShardId shard, const ExchangeMessage& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells the store what `node` has. No locks held.
  void Release(const std::shared_ptr<ParameterStore>& store, ShardId shard, NodeId node, Version version);

  void Run();
  Chores CollectLocked(absl::Time now, absl::Time* next) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CollectConnectionLocked(Peer* peer, absl::Time now, absl::Time* next, Chores* chores)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CollectCoursesLocked(const std::shared_ptr<Peer>& peer, absl::Time now, absl::Time* next,
                            Chores* chores) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Perform(const Chores& chores);
  void Ask(const std::shared_ptr<Peer>& peer, ShardId shard);
  void Copy(const std::shared_ptr<Peer>& peer, ShardId shard);
  // Everything of `peer` that was not sent, in order.
  void Send(const std::shared_ptr<Peer>& peer);
  std::vector<ExchangeMessage> TakeUnsentLocked(Peer* peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  ExchangeMessage HelloLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  double DrawJitterLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ReplicatorOptions options_;
  Opener opener_;  // set before the thread starts
  std::thread thread_;

  // Guards all that follows. Taken after a shard's lock; so no store is called under it, nor a sender.
  mutable Mutex mutex_;
  CondVar work_;
  std::weak_ptr<ParameterStore> store_ ABSL_GUARDED_BY(mutex_);  // which keeps this object
  int64_t term_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t rewind_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t max_kept_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool open_told_ ABSL_GUARDED_BY(mutex_) = true;
  Peers peers_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::shared_ptr<Link>> retired_ ABSL_GUARDED_BY(mutex_);  // to be closed
  std::vector<std::string> news_ ABSL_GUARDED_BY(mutex_);               // for on_silence
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time wakes_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // the thread, if nothing happens
  int64_t forwarded_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tessera
