// What a worker has asked its servers for and has no answer to, with the gradients that may have to be sent
// again.
//
// Of each shard and group there is one request at a time: the READ of the weights for a clock, or the PUSHes
// of the clock before, which the same weights answer (several, where the replicas that run here are several
// nodes of the tree). Gradients stay until those weights have come, also where a push was acknowledged: a
// partial sum dies with its server. No replica begins its next step on a shard before, so that nothing is
// kept longer than a server of this machine reads it.
#pragma once

#include <memory>
#include <random>
#include <vector>

#include "absl/time/time.h"
#include "common/exchange.h"
#include "common/shard_layout.h"
#include "common/tensor_buffer.h"
#include "common/types.h"

namespace tessera {

// A push without its shard and clock.
struct OutstandingPush {
  ReplicaRange replicas;
  Version version = 0;
  bool wants_weights = false;
  bool settled = false;
  std::shared_ptr<const TensorBuffer> gradient;  // of the whole block
};

// A pure state machine: no thread, and time is told. Not thread-safe. Takes nothing from the heap once each
// request has been made for the first time, but for messages that are sent again.
class OutstandingRequests {
 public:
  struct Waits {
    absl::Duration first;    // for an answer, until it is asked for again
    absl::Duration longest;  // they double, jittered, up to this
    // A push is asked about sooner, when answers usually come sooner: after four times what they took of
    // late (as TCP does), but not before this. To ask costs a header alone.
    absl::Duration shortest = absl::Milliseconds(20);
  };

  // `groups`: of each group the replicas that run here; `group` is everywhere an index into them.
  OutstandingRequests(const ShardLayout& layout, std::vector<ReplicaRange> groups, Waits waits);

  // A request is being sent, now. What was outstanding of another clock is superseded.
  void AddRead(int group, ShardId shard, Clock clock, bool settled, absl::Time now);
  void AddPush(int group, ShardId shard, Clock clock, OutstandingPush push, absl::Time now);

  // Answers; those to nothing that is outstanding change nothing. `shard` and `group` exist.
  // The weights for minibatch `clock` have come, now.
  void OnWeights(int group, ShardId shard, Clock clock, absl::Time now);
  // The round of minibatch `clock` was closed without the push.
  void OnDropped(int group, ShardId shard, Clock clock);
  // The push of `replicas` for minibatch `clock` never came: TakeDue sends it again.
  void OnUnknown(int group, ShardId shard, ReplicaRange replicas, Clock clock);
  // The server cannot take the shard's requests now: they wait anew, for the first wait.
  void OnUnavailable(int group, ShardId shard, absl::Time now);

  // TakeDue sends everything of `shard` again, in full.
  void SendAgain(ShardId shard);

  // The messages of `shard` to be sent now, without term and rewind: what is to be sent again, and where the
  // wait for an answer is over, a READ again, and for a push the question what became of it (`probe`).
  // Appends to `messages`. Counts those that are more than a question in `again`.
  void TakeDue(ShardId shard, absl::Time now, std::vector<ExchangeMessage>* messages, int64_t* again);
  // No request that is made from now on is due before this has passed.
  absl::Duration least_wait() const { return FirstWait(/*read=*/false) * jitter_; }
  // When TakeDue has the next one, if nothing happens before. InfiniteFuture: never.
  absl::Time NextDue(ShardId shard) const;

 private:
  struct Push {
    OutstandingPush push;
    bool again = false;  // send in full
  };
  struct Request {
    Clock answer = kNone;  // the weights for this clock answer it; kNone: nothing is outstanding
    bool read = false;     // else pushes, of minibatch answer - 1
    bool settled = false;  // of the read
    bool again = false;
    std::vector<Push> pushes;
    absl::Duration wait;
    absl::Time due;
    absl::Time sent;
    bool asked = false;  // about: then nobody knows which one is answered
  };
  static constexpr Clock kNone = -1;

  Request& At(int group, ShardId shard) {
    return requests_[static_cast<size_t>(shard) * groups_.size() + static_cast<size_t>(group)];
  }
  Request& Begin(int group, ShardId shard, Clock answer, bool read, absl::Time now);
  absl::Duration FirstWait(bool read) const;
  void Forget(Request* request);
  // +-20 %, so that many workers do not ask in step.
  double DrawJitter() { return std::uniform_real_distribution<double>(0.8, 1.2)(random_); }
  ExchangeMessage ReadMessage(int group, ShardId shard, const Request& request) const;
  ExchangeMessage PushMessage(ShardId shard, const Request& request, const Push& push, bool probe) const;

  const ShardLayout& layout_;
  const std::vector<ReplicaRange> groups_;
  const Waits waits_;
  std::minstd_rand random_;
  const double jitter_;            // of first waits, drawn once
  absl::Duration answer_time_;     // of pushes, smoothed; zero: not known
  std::vector<Request> requests_;  // by shard, then by group
};

}  // namespace tessera
