#include "cli/step_watch.h"

#include <string.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tessera::cli {

absl::StatusOr<std::unique_ptr<StepWatch>> StepWatch::Start(Ask ask, absl::Duration interval) {
  FileDescriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid())
    return absl::UnavailableError(absl::StrCat("cannot make an eventfd: ", strerror(errno)));
  return std::unique_ptr<StepWatch>(new StepWatch(std::move(ask), interval, std::move(event)));
}

StepWatch::StepWatch(Ask ask, absl::Duration interval, FileDescriptor event)
    : ask_(std::move(ask)), interval_(interval), event_(std::move(event)), thread_([this] { Run(); }) {}

StepWatch::~StepWatch() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    stop_changed_.NotifyAll();
  }
  thread_.join();
}

void StepWatch::SetServers(std::vector<std::string> addresses) {
  MutexLock lock(&mutex_);
  servers_ = std::move(addresses);
}

std::optional<int64_t> StepWatch::Take() {
  MutexLock lock(&mutex_);
  eventfd_t count;
  eventfd_read(event_.get(), &count);
  return std::exchange(newest_, std::nullopt);
}

void StepWatch::Run() {
  while (true) {
    const absl::Time next = absl::Now() + interval_;
    std::vector<std::string> servers;
    {
      MutexLock lock(&mutex_);
      servers = servers_;
    }
    const std::optional<int64_t> step = servers.empty() ? std::nullopt : ask_(servers);
    MutexLock lock(&mutex_);
    if (step.has_value()) {
      newest_ = step;
      eventfd_write(event_.get(), 1);
    }
    while (!stop_ && absl::Now() < next) stop_changed_.WaitWithTimeout(&mutex_, next - absl::Now());
    if (stop_) return;
  }
}

}  // namespace tessera::cli
