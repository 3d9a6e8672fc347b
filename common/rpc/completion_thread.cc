#include "common/rpc/completion_thread.h"

#include <utility>

#include "absl/time/clock.h"
#include "common/check.h"
#include "common/rpc/process_tuning.h"

namespace tessera {

CompletionThread::CompletionThread(std::unique_ptr<grpc::CompletionQueue> queue)
    : queue_(std::move(queue)), thread_([this] { Run(); }) {}

CompletionThread::~CompletionThread() { Shutdown(); }

void CompletionThread::Attach() {
  MutexLock lock(&mutex_);
  ++attached_;
}

void CompletionThread::Detach() {
  MutexLock lock(&mutex_);
  --attached_;
  detached_.NotifyAll();
}

void CompletionThread::Shutdown() {
  if (!thread_.joinable()) return;
  {
    // A cancelled call ends at once; whoever still holds one now has a bug that would corrupt memory later.
    const absl::Time deadline = absl::Now() + absl::Seconds(30);
    MutexLock lock(&mutex_);
    while (attached_ > 0 && absl::Now() < deadline)
      detached_.WaitWithTimeout(&mutex_, deadline - absl::Now());
    TESSERA_CHECK(attached_ == 0);
  }
  queue_->Shutdown();
  thread_.join();
}

void CompletionThread::Run() {
  AnswerPromptly();
  id_ = std::this_thread::get_id();
  void* tag = nullptr;
  bool ok = false;
  while (queue_->Next(&tag, &ok)) {
    static_cast<CompletionOperation*>(tag)->OnComplete(ok);
    RunDeferred();
  }
  id_ = std::thread::id();
}

void CompletionThread::RunDeferred() {
  for (size_t i = 0; i < deferred_.size(); ++i) {  // more may come meanwhile
    const std::shared_ptr<DeferredWork> work = std::move(deferred_[i]);
    work->RunDeferred();
  }
  deferred_.clear();
}

}  // namespace tessera
