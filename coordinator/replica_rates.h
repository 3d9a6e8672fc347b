// How fast every replica is of late, from its clock as heartbeats tell it. A pure state machine: time is
// passed in. Not thread-safe; the coordinator calls it under its lock.
#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "absl/time/time.h"
#include "common/types.h"

namespace tessera {

class ReplicaRates {
 public:
  // How far back "of late" reaches; further where minibatches take longer.
  static constexpr absl::Duration kWindow = absl::Seconds(10);

  explicit ReplicaRates(int32_t replicas) : replicas_(replicas) {}

  // `replica` (of this job) was seen at `now` with `minibatches` that counted, ever. Fewer than before
  // count as no more; a time before the last one changes nothing.
  void Record(ReplicaId replica, int64_t minibatches, absl::Time now);

  // Minibatches per second over kWindow before the last one that was seen to end. Once the replica is seen
  // without another one, at most what it would be if one ended just then: who stands still slows down to
  // nothing. 0 until minibatches were seen to end at two times.
  double PerSecond(ReplicaId replica) const;

 private:
  // The first time that so many minibatches were seen.
  struct Change {
    absl::Time when;
    int64_t minibatches;
  };

  struct Replica {
    std::deque<Change> changes;  // those in the window, and one before it
    absl::Time seen = absl::InfinitePast();
  };

  std::vector<Replica> replicas_;
};

}  // namespace tessera
