// How many steps were computed again. A step is one clock, whoever runs it: it counts once on each timeline,
// however many replicas' minibatches of it were begun again and however often; and what a rewind loses is
// computed again. A pure state machine; not thread-safe.
#pragma once

#include <cstdint>
#include <set>

#include "common/types.h"
#include "proto/journal.pb.h"

namespace tessera {

class RecomputedSteps {
 public:
  // Of one timeline so many clocks are known apart, the newest; what comes about older ones is not counted.
  static constexpr size_t kMostApart = 1024;

  // A minibatch of `clock` is computed again, on the present timeline. May be told again.
  void Add(Clock clock);
  // Another timeline begins: `lost` steps of the last one are to be computed again. lost >= 0.
  void Rewind(Clock lost);

  int64_t total() const;

  void ToJournal(wire::JournalState* journal) const;
  // Numbers that cannot be count for nothing.
  void FromJournal(const wire::JournalState& journal);

 private:
  std::set<Clock> clocks_;  // of the present timeline
  Clock counted_ = -1;      // those up to here are counted in settled_
  int64_t settled_ = 0;
};

}  // namespace tessera
