// What a worker's heartbeats tell: of the session that runs, and the sums over all sessions so far.
#pragma once

#include <cstdint>
#include <set>

#include "common/mutex.h"
#include "common/shared_memory/outbox.h"
#include "proto/coordinator_service.pb.h"
#include "worker/parameter_client.h"
#include "worker/trainer.h"

namespace tessera {

// Of one incarnation. Thread-safe.
class WorkerProgress {
 public:
  // What runs now; all of it lives until End.
  struct Session {
    const Trainer* trainer = nullptr;
    const ParameterClient* client = nullptr;
    const Outbox* outbox = nullptr;  // null: no memory is shared
    int64_t rewind = 0;
  };
  void Begin(const Session& session);
  // Its sums stay; nobody looks at it any more.
  void End();

  // Replicas, and what was computed again, are told only where the heartbeat is of their rewind.
  void Fill(wire::HeartbeatRequest* request) const;

 private:
  struct Sums {
    double training_seconds = 0;
    int64_t pushed_bytes = 0;
    int64_t pulled_bytes = 0;
    int64_t shared_memory_bytes = 0;
    int64_t retries = 0;
  };
  Sums SumsLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Of timeline `rewind`, the session that runs included.
  std::set<Clock> RecomputedLocked(int64_t rewind) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;  // held while a session is looked at
  Session session_ ABSL_GUARDED_BY(mutex_);
  Sums ended_ ABSL_GUARDED_BY(mutex_);  // over sessions that have ended
  // What those computed again, on the timeline of the last of them; the newest kMostRecomputed.
  std::set<Clock> recomputed_ ABSL_GUARDED_BY(mutex_);
  int64_t recomputed_rewind_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace tessera
