// Asks servers how far training is, again and again, without keeping the asker from other things and without
// the coordinator, which may be away.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/mutex.h"

namespace tessera::cli {

// Runs a thread that calls `ask` every `interval` until it is destroyed; joins it. `ask` must have a
// deadline: the destructor waits for it. Thread-safe.
class StepWatch {
 public:
  // The smallest number of minibatches of any replica that the servers at these addresses have applied;
  // nothing when none of them answers.
  using Ask = std::function<std::optional<int64_t>(const std::vector<std::string>& servers)>;

  static absl::StatusOr<std::unique_ptr<StepWatch>> Start(Ask ask, absl::Duration interval);
  ~StepWatch();

  // Whom to ask from now on; nobody before the first call.
  void SetServers(std::vector<std::string> addresses);
  // Readable while there is a step to take.
  int fd() const { return event_.get(); }
  // The newest step, once.
  std::optional<int64_t> Take();

 private:
  StepWatch(Ask ask, absl::Duration interval, FileDescriptor event);
  void Run();

  const Ask ask_;
  const absl::Duration interval_;
  const FileDescriptor event_;
  Mutex mutex_;  // guards what follows; not held while asking
  CondVar stop_changed_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::string> servers_ ABSL_GUARDED_BY(mutex_);
  std::optional<int64_t> newest_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;  // last: it uses all others
};

}  // namespace tessera::cli
