// Turns SIGTERM and SIGINT into a call on an ordinary thread.
#pragma once

#include <signal.h>

#include <functional>
#include <thread>

#include "common/mutex.h"

namespace tessera {

// Construct it in main before any other thread starts: the signals are blocked for this thread and all that
// follow, and a thread of the watcher's own waits for them. The destructor joins it. SIGXFSZ is ignored from
// then on: a file that may not grow is an error of whoever writes it, as a full disk is.
class SignalWatcher {
 public:
  SignalWatcher();
  ~SignalWatcher();

  // `on_signal` is called with the signal's number, at once if one has come already. Later signals call it
  // again.
  void Watch(std::function<void(int)> on_signal);

  // The first signal that came, or 0.
  int received() const;

 private:
  void Run();
  int signal_fd_ = -1;
  int stop_fd_ = -1;
  mutable Mutex mutex_;
  std::function<void(int)> on_signal_ ABSL_GUARDED_BY(mutex_);
  int received_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace tessera
