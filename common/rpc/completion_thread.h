// A gRPC completion queue and the thread of ours that serves it: the way tensor bytes travel (the callback
// API, measured well behind it, serves everything small).
#pragma once

#include <grpcpp/completion_queue.h>

#include <memory>
#include <thread>

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

  // Counts the connections that may still start operations; Shutdown waits for them, since an operation
  // started on a queue that is shut down would be an error.
  void Attach();
  void Detach();

  // Waits for the attached to detach (their calls must have been cancelled; the wait is bounded), drains the
  // queue and joins the thread. Idempotent.
  void Shutdown();

 private:
  void Run();
  Mutex mutex_;
  CondVar detached_;
  int attached_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::CompletionQueue> queue_;
  std::thread thread_;
};

}  // namespace tessera
