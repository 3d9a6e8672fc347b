#include "cli/status_poller.h"

#include <string.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace tessera::cli {

absl::StatusOr<std::unique_ptr<StatusPoller>> StatusPoller::Start(Ask ask, absl::Duration interval) {
  FileDescriptor event(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event.valid())
    return absl::UnavailableError(absl::StrCat("cannot make an eventfd: ", strerror(errno)));
  return std::unique_ptr<StatusPoller>(new StatusPoller(std::move(ask), interval, std::move(event)));
}

StatusPoller::StatusPoller(Ask ask, absl::Duration interval, FileDescriptor event)
    : ask_(std::move(ask)), interval_(interval), event_(std::move(event)), thread_([this] { Run(); }) {}

StatusPoller::~StatusPoller() {
  {
    MutexLock lock(&mutex_);
    stop_ = true;
    stop_changed_.NotifyAll();
  }
  thread_.join();
}

std::optional<wire::JobStatus> StatusPoller::Take() {
  MutexLock lock(&mutex_);
  eventfd_t count;
  eventfd_read(event_.get(), &count);
  return std::exchange(newest_, std::nullopt);
}

int StatusPoller::unanswered() {
  MutexLock lock(&mutex_);
  return unanswered_;
}

void StatusPoller::Run() {
  while (true) {
    const absl::Time next = absl::Now() + interval_;
    absl::StatusOr<wire::JobStatus> status = ask_();
    const bool over = status.ok() && status->phase() >= wire::DONE;
    Publish(std::move(status));
    MutexLock lock(&mutex_);
    while (!stop_ && absl::Now() < next) stop_changed_.WaitWithTimeout(&mutex_, next - absl::Now());
    if (stop_ || over) return;
  }
}

void StatusPoller::Publish(absl::StatusOr<wire::JobStatus> status) {
  MutexLock lock(&mutex_);
  if (!status.ok()) {
    ++unanswered_;
    return;
  }
  unanswered_ = 0;
  newest_ = *std::move(status);
  eventfd_write(event_.get(), 1);
}

}  // namespace tessera::cli
