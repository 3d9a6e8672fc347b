// Gathers minibatches ahead of the steps that train on them, on a thread of its own. A minibatch is a pure
// function of (replica, clock): one that was gathered in vain, because the plan has changed, costs time and
// changes nothing.
#pragma once

#include <cstddef>
#include <thread>
#include <vector>

#include "absl/types/span.h"
#include "common/mutex.h"
#include "common/trace/trace_recorder.h"
#include "common/types.h"
#include "worker/data/batch_loader.h"
#include "worker/data/sampler.h"

namespace tessera {

// Names a minibatch.
struct BatchKey {
  ReplicaId replica = 0;
  Clock clock = 0;
  friend bool operator==(const BatchKey&, const BatchKey&) = default;
};

// Take is called from one thread. The destructor joins the other.
class BatchPrefetcher {
 public:
  // Minibatches that are gathered ahead: enough for a step that is shorter than the one before. Memory: with
  // the one in use one more.
  static constexpr size_t kAhead = 2;

  // What is gathered is recorded in a track of `recorder`, which outlives this object, if there is one.
  BatchPrefetcher(Sampler sampler, const BatchLoader& loader, TraceRecorder* recorder = nullptr);
  ~BatchPrefetcher();
  BatchPrefetcher(const BatchPrefetcher&) = delete;
  BatchPrefetcher& operator=(const BatchPrefetcher&) = delete;

  // The minibatch `wanted`, with its epoch's augmentation; valid until the next call. Waits for it if it was
  // not gathered ahead, for as long as gathering it takes. `next`: what will be wanted after it, soonest
  // first; the first kAhead of them are gathered meanwhile.
  nn::Batch Take(BatchKey wanted, absl::Span<const BatchKey> next);

 private:
  struct Slot {
    BatchKey key{-1, -1};  // none
    bool ready = false;
    BatchLoader loader;  // has the memory
    nn::Batch batch;
  };

  void Run();
  // The slot of `key`, or null.
  Slot* FindLocked(BatchKey key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The next one to gather, in a slot that nobody wants any more; null when all are there.
  Slot* BeginLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Gather(Slot* slot);

  Sampler sampler_;  // the thread's
  const TraceTrack trace_;

  Mutex mutex_;  // not held while a minibatch is gathered: its slot is the thread's until it is ready
  CondVar changed_;
  std::vector<Slot> slots_ ABSL_GUARDED_BY(mutex_);        // one for each that may be planned
  std::vector<BatchKey> planned_ ABSL_GUARDED_BY(mutex_);  // the one in use, then what comes next
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace tessera
