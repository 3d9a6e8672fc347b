#include "common/signal_watcher.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <utility>

#include "common/check.h"

namespace tessera {

SignalWatcher::SignalWatcher() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  TESSERA_CHECK(pthread_sigmask(SIG_BLOCK, &signals, nullptr) == 0);
  signal(SIGXFSZ, SIG_IGN);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC);
  stop_fd_ = eventfd(0, EFD_CLOEXEC);
  TESSERA_CHECK(signal_fd_ >= 0 && stop_fd_ >= 0);
  thread_ = std::thread([this] { Run(); });
}

SignalWatcher::~SignalWatcher() {
  TESSERA_CHECK(eventfd_write(stop_fd_, 1) == 0);
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void SignalWatcher::Watch(std::function<void(int)> on_signal) {
  MutexLock lock(&mutex_);
  on_signal_ = std::move(on_signal);
  if (received_ != 0 && on_signal_) on_signal_(received_);
}

int SignalWatcher::received() const {
  MutexLock lock(&mutex_);
  return received_;
}

void SignalWatcher::Run() {
  pollfd descriptors[] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
  while (true) {
    if (poll(descriptors, 2, -1) < 0) continue;
    if (descriptors[1].revents != 0) return;
    signalfd_siginfo info;
    if (read(signal_fd_, &info, sizeof(info)) != sizeof(info)) continue;
    MutexLock lock(&mutex_);
    if (received_ == 0) received_ = static_cast<int>(info.ssi_signo);
    if (on_signal_) on_signal_(static_cast<int>(info.ssi_signo));
  }
}

}  // namespace tessera
