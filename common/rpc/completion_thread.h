// A gRPC completion queue and the thread of ours that serves it: the way tensor bytes travel (the callback
// API, measured well behind it, serves everything small).
#pragma once

#include <grpcpp/completion_queue.h>

#include <atomic>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/mutex.h"

namespace tessera {

// What a completion queue's tag points to. The queue's thread calls OnComplete once per started operation.
class CompletionOperation {
 public:
  virtual ~CompletionOperation() = default;
  // `ok` as gRPC says it: false for a read at the stream's end, a failed write, a cancelled call.
  virtual void OnComplete(bool ok) = 0;
};

// What waits until its thread has handled a completion.
class DeferredWork {
 public:
  virtual ~DeferredWork() = default;
  virtual void RunDeferred() = 0;
};

// Starts a thread; Shutdown (or the destructor) joins it. Thread-safe but for Shutdown.
class CompletionThread {
 public:
  explicit CompletionThread(std::unique_ptr<grpc::CompletionQueue> queue);
  ~CompletionThread();

  // The queue, as the type it was made as.
  template <typename Queue = grpc::CompletionQueue>
  Queue* queue() {
    return static_cast<Queue*>(queue_.get());
  }

  // Whether the caller is this thread, inside of some OnComplete or RunDeferred.
  bool IsCurrent() const { return std::this_thread::get_id() == id_; }
  // Runs `work` once the present OnComplete has returned, in the order of the calls. Only where IsCurrent().
  void Defer(std::shared_ptr<DeferredWork> work) { deferred_.push_back(std::move(work)); }

  // Counts the connections that may still start operations; Shutdown waits for them, since an operation
  // started on a queue that is shut down would be an error.
  void Attach();
  void Detach();

  // Waits for the attached to detach (their calls must have been cancelled; the wait is bounded), drains the
  // queue and joins the thread. Idempotent.
  void Shutdown();

 private:
  void Run();
  void RunDeferred();

  std::atomic<std::thread::id> id_;
  std::vector<std::shared_ptr<DeferredWork>> deferred_;  // the thread's own
  Mutex mutex_;
  CondVar detached_;
  int attached_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::CompletionQueue> queue_;
  std::thread thread_;
};

}  // namespace tessera
