// Asks a coordinator for its status again and again, without keeping whoever shows it from other things.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/mutex.h"
#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

// Runs a thread that calls `ask` every `interval` until the job is over or the poller is destroyed; joins it.
// `ask` must have a deadline: the destructor waits for it. Thread-safe.
class StatusPoller {
 public:
  using Ask = std::function<absl::StatusOr<wire::JobStatus>()>;

  static absl::StatusOr<std::unique_ptr<StatusPoller>> Start(Ask ask, absl::Duration interval);
  ~StatusPoller();

  // Readable while there is a status to take.
  int fd() const { return event_.get(); }
  // The newest status, once.
  std::optional<wire::JobStatus> Take();
  // How many calls have had no answer since the last one that had.
  int unanswered();

 private:
  StatusPoller(Ask ask, absl::Duration interval, FileDescriptor event);
  void Run();
  void Publish(absl::StatusOr<wire::JobStatus> status);

  const Ask ask_;
  const absl::Duration interval_;
  const FileDescriptor event_;
  Mutex mutex_;  // guards what follows; not held while asking
  CondVar stop_changed_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  int unanswered_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<wire::JobStatus> newest_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses all others
};

}  // namespace tessera::cli
