#include "cli/process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

// By number: glibc 2.36 declares these without `extern "C"`.
int PidfdOpen(pid_t pid) { return static_cast<int>(syscall(SYS_pidfd_open, pid, 0)); }
void PidfdSendSignal(int pidfd, int signal) { syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0); }

// Everything the child needs, made before the fork: between fork and exec only async-signal-safe calls are
// allowed.
struct Launch {
  pid_t parent;
  const char* executable;
  char* const* argv;
  int input;
  int log;
  int error_pipe;
};

[[noreturn]] void FailInChild(const Launch& launch, int error) {
  // Nothing more can be done when the parent does not hear it.
  [[maybe_unused]] const ssize_t written = write(launch.error_pipe, &error, sizeof(error));
  _exit(127);
}

void ResetSignals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

[[noreturn]] void RunChild(const Launch& launch) {
  // The signal first, then the check: a parent that died in between is noticed by one of the two.
  if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) FailInChild(launch, errno);
  if (getppid() != launch.parent) _exit(127);
  setpgid(0, 0);
  ResetSignals();
  if (dup2(launch.input, STDIN_FILENO) < 0 || dup2(launch.log, STDOUT_FILENO) < 0 ||
      dup2(launch.log, STDERR_FILENO) < 0) {
    FailInChild(launch, errno);
  }
  // Not closed but marked, so that the error pipe still works until the exec.
  if (close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC) != 0) FailInChild(launch, errno);
  execve(launch.executable, launch.argv, environ);
  FailInChild(launch, errno);
}

absl::Status SystemError(const std::string& what, int error) {
  const std::string message = absl::StrCat(what, ": ", strerror(error));
  return error == ENOENT ? absl::NotFoundError(message) : absl::UnavailableError(message);
}

absl::Status ReapFailedChild(pid_t pid, const ProcessOptions& options, int error) {
  while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  return SystemError(absl::StrCat("cannot start ", options.name, " (", options.executable, ")"), error);
}

// The errno that the child reported, or 0 when it reached its program (the pipe then closes without a word).
int ReadChildError(int pipe) {
  int error = 0;
  ssize_t count;
  do {
    count = read(pipe, &error, sizeof(error));
  } while (count < 0 && errno == EINTR);
  return count == sizeof(error) ? error : 0;
}

// `fd`, or a copy above the standard three where it is one of them: the child's dup2 must not overwrite it.
FileDescriptor AboveStandard(int fd) {
  FileDescriptor original(fd);
  if (fd < 0 || fd > STDERR_FILENO) return original;
  return FileDescriptor(fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
}

absl::StatusOr<FileDescriptor> Open(const std::string& path, int flags) {
  FileDescriptor opened = AboveStandard(open(path.c_str(), flags | O_CLOEXEC, 0644));
  if (!opened.valid()) return SystemError(absl::StrCat("cannot open ", path), errno);
  return opened;
}

}  // namespace

bool ProcessExit::was_asked() const { return !signaled && (code == 128 + SIGTERM || code == 128 + SIGINT); }

std::string Describe(const ProcessExit& exit) {
  if (exit.was_asked()) return "left, as it was asked to";
  if (!exit.signaled) return absl::StrCat("exited with status ", exit.code);
  return absl::StrCat("was killed by signal ", exit.code, " (", strsignal(exit.code), ")");
}

absl::StatusOr<std::unique_ptr<Process>> Process::Spawn(const ProcessOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(const FileDescriptor input, Open("/dev/null", O_RDONLY));
  TESSERA_ASSIGN_OR_RETURN(const FileDescriptor log, Open(options.log_path, O_WRONLY | O_CREAT | O_APPEND));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return SystemError("cannot make a pipe", errno);
  const FileDescriptor read_end(ends[0]);
  FileDescriptor write_end = AboveStandard(ends[1]);

  std::vector<char*> argv = {const_cast<char*>(options.executable.c_str())};
  for (const std::string& argument : options.arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const Launch launch = {getpid(),       options.executable.c_str(), argv.data(), input.get(), log.get(),
                         write_end.get()};

  const pid_t pid = fork();
  if (pid == 0) RunChild(launch);
  if (pid < 0) return SystemError(absl::StrCat("cannot start ", options.name), errno);
  write_end.Reset();
  if (const int error = ReadChildError(read_end.get()); error != 0)
    return ReapFailedChild(pid, options, error);
  // No race with a reused pid: the child is not reaped before we do it.
  const int pidfd = PidfdOpen(pid);
  if (pidfd < 0) {
    const int error = errno;
    kill(pid, SIGKILL);
    return ReapFailedChild(pid, options, error);
  }
  return std::unique_ptr<Process>(new Process(options, pid, pidfd));
}

Process::Process(const ProcessOptions& options, pid_t pid, int pidfd)
    : name_(options.name), log_path_(options.log_path), pid_(pid), pidfd_(pidfd) {}

Process::~Process() {
  Kill(SIGKILL);
  if (!exit_.has_value()) Reap(0);
  close(pidfd_);
}

void Process::Rename(std::string name, std::string log_path) {
  name_ = std::move(name);
  log_path_ = std::move(log_path);
}

const std::optional<ProcessExit>& Process::TryWait() {
  if (!exit_.has_value()) Reap(WNOHANG);
  return exit_;
}

void Process::Kill(int signal) {
  if (!exit_.has_value()) PidfdSendSignal(pidfd_, signal);
}

void Process::Reap(int flags) {
  siginfo_t info = {};
  int result;
  do {
    result = waitid(P_PIDFD, pidfd_, &info, WEXITED | flags);
  } while (result != 0 && errno == EINTR);
  if (result == 0 && info.si_pid == pid_) {
    exit_ = ProcessExit{.signaled = info.si_code != CLD_EXITED, .code = info.si_status};
  }
}

}  // namespace tessera::cli
