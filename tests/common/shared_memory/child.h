// A child process that does nothing but live, to be a peer that can be killed.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tessera {

class Child {
 public:
  Child() : pid_(fork()) {
    if (pid_ == 0) {
      alarm(60);  // whatever becomes of the test
      while (true) pause();
    }
  }
  ~Child() { Kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  void Kill() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }

 private:
  pid_t pid_;
};

}  // namespace tessera
