#include "cli/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/signal_watch.h"
#include "common/file_descriptor.h"
#include "gmock/gmock.h"
#include "tests/cli/children.h"
#include "tests/common/temporary_folder.h"

namespace tessera::cli {
namespace {

using testing::HasSubstr;

TEST(Process, ReportsTheExitStatus) {
  auto process = Process::Spawn(Shell("exit 7"));
  ASSERT_TRUE(process.ok()) << process.status();
  const ProcessExit exit = AwaitExit(process->get());
  EXPECT_FALSE(exit.signaled);
  EXPECT_EQ(exit.code, 7);
  EXPECT_EQ(Describe(exit), "exited with status 7");
}

TEST(Process, ReportsTheSignal) {
  auto process = Process::Spawn(Shell("kill -9 $$"));
  ASSERT_TRUE(process.ok());
  const ProcessExit exit = AwaitExit(process->get());
  EXPECT_TRUE(exit.signaled);
  EXPECT_EQ(Describe(exit), "was killed by signal 9 (Killed)");
}

TEST(Process, WritesBothStreamsToTheLog) {
  const TemporaryFolder folder;
  auto process = Process::Spawn(Shell("echo one; echo two >&2", folder.File("log")));
  ASSERT_TRUE(process.ok());
  AwaitExit(process->get());
  EXPECT_EQ(Contents(folder.File("log")), "one\ntwo\n");
}

TEST(Process, ReadsNothing) {
  auto process = Process::Spawn(Shell("read line && exit 1; exit 0"));
  ASSERT_TRUE(process.ok());
  EXPECT_TRUE(AwaitExit(process->get()).clean());
}

TEST(Process, InheritsNoOtherDescriptor) {
  const TemporaryFolder folder;
  const FileDescriptor inheritable(open("/dev/null", O_RDONLY));
  ASSERT_EQ(fcntl(inheritable.get(), F_GETFD), 0);
  auto process =
      Process::Spawn(Shell("for fd in /proc/self/fd/*; do echo ${fd##*/}; done", folder.File("log")));
  ASSERT_TRUE(process.ok());
  AwaitExit(process->get());
  // The shell's own glob has a folder open when it lists itself.
  EXPECT_EQ(Contents(folder.File("log")), "0\n1\n2\n3\n");
}

TEST(Process, IsInAGroupOfItsOwn) {
  auto process = Process::Spawn(Shell("exec sleep 60"));
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(getpgid((*process)->pid()), (*process)->pid());
}

TEST(Process, StartsWithDefaultSignals) {
  auto watch = SignalWatch::Create();  // blocks SIGTERM and ignores SIGPIPE here
  ASSERT_TRUE(watch.ok());
  for (const int signal : {SIGTERM, SIGPIPE}) {
    auto process = Process::Spawn(Shell("kill -" + std::to_string(signal) + " $$; exit 3"));
    ASSERT_TRUE(process.ok());
    const ProcessExit exit = AwaitExit(process->get());
    EXPECT_TRUE(exit.signaled);
    EXPECT_EQ(exit.code, signal);
  }
}

TEST(Process, MissingProgramIsAnErrorThatNamesIt) {
  const auto process =
      Process::Spawn({.name = "server 1", .executable = "/nonexistent/program", .log_path = "/dev/null"});
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(process.status().message()), HasSubstr("server 1 (/nonexistent/program)"));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child was left";
}

TEST(Process, MissingLogFolderIsAnErrorThatNamesIt) {
  const auto process = Process::Spawn(Shell("exit 0", "/nonexistent/log"));
  EXPECT_EQ(process.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(process.status().message()), HasSubstr("/nonexistent/log"));
}

TEST(Process, DestructorKillsAndReaps) {
  {
    auto process = Process::Spawn(Shell("exec sleep 60"));
    ASSERT_TRUE(process.ok());
  }
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(Process, DiesWithItsParentEvenIfThatIsKilled) {
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_CLOEXEC), 0);
  const FileDescriptor read_end(ends[0]), write_end(ends[1]);
  const pid_t parent = fork();
  if (parent == 0) {
    auto process = Process::Spawn(Shell("exec sleep 60"));
    const pid_t pid = process.ok() ? (*process)->pid() : 0;
    if (write(write_end.get(), &pid, sizeof(pid)) != sizeof(pid)) _exit(1);
    pause();
    _exit(0);
  }
  pid_t child = 0;
  ASSERT_EQ(read(read_end.get(), &child, sizeof(child)), static_cast<ssize_t>(sizeof(child)));
  ASSERT_GT(child, 0);
  const FileDescriptor pidfd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  ASSERT_TRUE(pidfd.valid());
  kill(parent, SIGKILL);
  EXPECT_TRUE(Ends(pidfd.get()));
  waitpid(parent, nullptr, 0);
}

}  // namespace
}  // namespace tessera::cli
