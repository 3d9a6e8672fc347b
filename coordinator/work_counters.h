// What nodes say they have done: bytes, seconds, retries, staleness. Nodes count for themselves,
// cumulatively, so that a late heartbeat turns nothing back; here their counts are added up over nodes, and
// over those that came one after the other. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>

#include "coordinator/membership.h"
#include "coordinator/run_summary.h"
#include "proto/journal.pb.h"

namespace tessera {

// Of a worker.
struct WorkDone {
  int64_t pushed_bytes = 0;
  int64_t pulled_bytes = 0;
  int64_t shared_memory_bytes = 0;
  double training_seconds = 0;
  int64_t retries = 0;

  void Add(const WorkDone& other);
  void RaiseTo(const WorkDone& other);
};

class WorkCounters {
 public:
  // Takes what a heartbeat of `node` says; of a server only what is of the present rewind, if
  // `of_this_rewind`. Errors: kInvalidArgument, numbers that cannot be; nothing is taken then.
  static absl::Status Check(const Node& node, const wire::HeartbeatRequest& request);
  void Record(const Node& node, const wire::HeartbeatRequest& request, bool of_this_rewind);
  // `node` is dead or gone: what it did counts for its index.
  void Retire(const Node& node);
  // What servers counted so far was of a timeline that is no more.
  void Rewind() { servers_.clear(); }

  // Of all workers ever.
  WorkDone Total() const;
  // Of the workers of that index, one after the other.
  WorkDone OfIndex(int32_t index) const;
  // Of the index that trained longest: indices train side by side. Waiting for others counts, evaluation does
  // not.
  double TrainingSeconds() const;
  // As far as heartbeats tell.
  TransferCounters Transfers() const;

  // Of nodes: only those that the journal has already.
  void ToJournal(wire::JournalState* journal) const;
  void FromJournal(const wire::JournalState& journal);

 private:
  struct OfWorker {
    int32_t index = 0;
    WorkDone done;
  };
  std::map<int32_t, WorkDone> ByIndex() const;

  std::map<int32_t, OfWorker> workers_;          // alive, by node id
  std::map<int32_t, WorkDone> past_;             // of those before them, by index
  std::map<int32_t, TransferCounters> servers_;  // by node id; staleness and clock lead so far
};

}  // namespace tessera
