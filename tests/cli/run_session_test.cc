#include "cli/run_session.h"

#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <filesystem>

#include "gmock/gmock.h"
#include "tests/cli/fake_daemons.h"

namespace tessera::cli {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;

constexpr absl::Duration kLease = absl::Milliseconds(50);

// Sessions over scripts: no coordinator ever answers, so all that is known comes from processes and files.
class RunSessionTest : public testing::Test {
 protected:
  RunSessionTest() {
    console_.out = [this](absl::string_view text) { out_.append(text.data(), text.size()); };
    console_.err = [this](absl::string_view text) { err_.append(text.data(), text.size()); };
  }

  SessionEnd RunCluster() {
    auto signals = SignalWatch::Create();
    EXPECT_TRUE(signals.ok());
    const SessionEnd end = RunSession(daemons_.Cluster(), kLease, &*signals, console_).Run();
    EXPECT_TRUE(waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD) << "a process was left";
    return end;
  }
  // Only the first of the two workers gets the token and does `script`; then both do `after`.
  void WriteWorkers(const std::string& script, const std::string& after = kStay) {
    const std::string take = "if mkdir " + daemons_.File("token") + " 2>/dev/null; then\n";
    daemons_.Write("tessera-worker", take + script + "\nfi\n" + after);
  }
  // Sends `signal` to this process.
  std::string Signal(const std::string& signal) { return "kill -" + signal + " " + std::to_string(getpid()); }

  FakeDaemons daemons_;
  Console console_;
  std::string out_, err_;
};

TEST_F(RunSessionTest, KilledWorkerEndsTheRunWithOneLineThatNamesIt) {
  WriteWorkers("kill -9 $$");
  const SessionEnd end = RunCluster();
  EXPECT_EQ(end.signal, 0);
  EXPECT_EQ(end.outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, MatchesRegex("tessera: worker [01] \\(pid [0-9]+\\) was killed by signal 9 \\(Killed\\); "
                                 "log: .*/logs/worker-[01].log\n"));
}

TEST_F(RunSessionTest, WorkerThatLeavesWithAnErrorIsQuoted) {
  WriteWorkers("echo 'no such device' >&2; exit 1");
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, HasSubstr("exited with status 1: no such device; log: "));
}

TEST_F(RunSessionTest, CoordinatorThatNodesHaveLostIsNamedInTheirPlace) {
  WriteWorkers("echo 'lost the coordinator at x: no answer for 2s' >&2; exit 1");
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, MatchesRegex("tessera: coordinator \\(pid [0-9]+\\) does not answer; log: .*\n"));
}

TEST_F(RunSessionTest, KilledCoordinatorEndsTheRun) {
  daemons_.Write("tessera-coordinator", R"(
while [ "$1" != --run-folder ]; do shift; done
mkfifo "$2/go"
echo 127.0.0.1:1 > "$2/.coordinator" && mv "$2/.coordinator" "$2/coordinator"
read line < "$2/go"
kill -9 $$)");
  WriteWorkers("echo > " + daemons_.run_folder() + "/go");
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, HasSubstr("coordinator (pid "));
  EXPECT_THAT(err_, HasSubstr("was killed by signal 9"));
}

TEST_F(RunSessionTest, CoordinatorThatLeavesASummaryOfSuccessIsBelieved) {
  daemons_.Write("tessera-coordinator", R"(
while [ "$1" != --run-folder ]; do shift; done
mkfifo "$2/go"
echo 127.0.0.1:1 > "$2/.coordinator" && mv "$2/.coordinator" "$2/coordinator"
read line < "$2/go"
echo '{"status": "done"}' > "$2/summary.json")");
  daemons_.Write("tessera-server", "exit 0");
  WriteWorkers("echo > " + daemons_.run_folder() + "/go", "exit 0");
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kDone);
  EXPECT_EQ(err_, "");
}

TEST_F(RunSessionTest, ProgramThatCannotStartIsOneLine) {
  daemons_.Write("tessera-coordinator", "echo 'the port is in use' >&2; exit 1");
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, HasSubstr("the port is in use"));
}

TEST_F(RunSessionTest, InterruptStopsInOrder) {
  // The coordinator hears of it and leaves; nodes leave when it is gone.
  daemons_.Write("tessera-coordinator", R"(
while [ "$1" != --run-folder ]; do shift; done
trap 'echo > "$folder/stopped"; exit 0' INT
folder=$2
echo 127.0.0.1:1 > "$2/.coordinator" && mv "$2/.coordinator" "$2/coordinator"
while :; do sleep 0.01; done)");
  const std::string wait = "while [ ! -e " + daemons_.run_folder() + "/stopped ]; do sleep 0.01; done";
  daemons_.Write("tessera-server", wait);
  WriteWorkers(Signal("INT"), wait);
  const SessionEnd end = RunCluster();
  EXPECT_EQ(end.signal, SIGINT);
  EXPECT_TRUE(std::filesystem::exists(daemons_.run_folder() + "/stopped"));
  EXPECT_EQ(err_, "");
}

TEST_F(RunSessionTest, SecondInterruptKillsWhoDoesNotLeave) {
  daemons_.Write("tessera-coordinator", std::string("trap '" + Signal("TERM") + "' TERM\n") + R"(
while [ "$1" != --run-folder ]; do shift; done
echo 127.0.0.1:1 > "$2/.coordinator" && mv "$2/.coordinator" "$2/coordinator"
while :; do sleep 0.01; done)");
  WriteWorkers(Signal("TERM"));
  EXPECT_EQ(RunCluster().signal, SIGTERM);
}

}  // namespace
}  // namespace tessera::cli
