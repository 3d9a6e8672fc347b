#include "cli/run_session.h"

#include <signal.h>
#include <sys/wait.h>

#include <cerrno>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/cli/children.h"
#include "tests/cli/fake_daemons.h"

namespace tessera::cli {
namespace {

using testing::ContainsRegex;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::MatchesRegex;
using testing::Not;

constexpr absl::Duration kLease = absl::Milliseconds(50);

// Sessions over scripts: no coordinator ever answers, so all that is known comes from processes and files.
class RunSessionTest : public testing::Test {
 protected:
  RunSessionTest() {
    console_.out = [this](absl::string_view text) { out_.append(text.data(), text.size()); };
    console_.err = [this](absl::string_view text) { err_.append(text.data(), text.size()); };
  }

  SessionEnd RunCluster(bool restart = true, const std::string& plan = "") {
    auto signals = SignalWatch::Create();
    EXPECT_TRUE(signals.ok());
    SessionOptions options = {.lease = kLease, .restart = restart, .plan = std::nullopt};
    if (!plan.empty()) options.plan = *ParseChaosPlan(plan, "plan", {.servers = 2, .workers = 2});
    RunSession session(daemons_.Cluster(), options, &*signals, console_);
    const SessionEnd end = session.Run();
    injections_ = session.injections();
    unfired_ = session.unfired();
    EXPECT_TRUE(waitpid(-1, nullptr, WNOHANG) == -1 && errno == ECHILD) << "a process was left";
    return end;
  }
  // A node that leaves once the job is over.
  std::string UntilTheEnd() {
    return "while [ ! -e " + daemons_.run_folder() + "/summary.json ]; do sleep 0.01; done";
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
  std::vector<Injection> injections_;
  std::vector<std::string> unfired_;
};

// A coordinator that leaves the summary of a success when somebody writes into its FIFO `go`.
constexpr char kCoordinatorThatIsTold[] = R"(
while [ "$1" != --run-folder ]; do shift; done
[ -e "$2/go" ] || mkfifo "$2/go"
echo 127.0.0.1:1 > "$2/.coordinator" && mv "$2/.coordinator" "$2/coordinator"
read line < "$2/go"
[ "$line" != die ] || kill -9 $$
echo '{"status": "done"}' > "$2/summary.json")";

TEST_F(RunSessionTest, KilledWorkerIsStartedAgainAndBothAreTold) {
  daemons_.Write("tessera-coordinator", kCoordinatorThatIsTold);
  daemons_.Write("tessera-server", UntilTheEnd());
  // The second worker has nothing to do with it; the killed one's successor finds the token and ends the job.
  daemons_.Write("tessera-worker", "echo $* >> " + daemons_.File("arguments") + "\nif mkdir " +
                                       daemons_.File("first") +
                                       " 2>/dev/null; then kill -9 $$; fi\nif mkdir " +
                                       daemons_.File("second") + " 2>/dev/null; then " + UntilTheEnd() +
                                       "; exit 0; fi\necho > " + daemons_.run_folder() + "/go");
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kDone);
  EXPECT_THAT(
      out_, ContainsRegex("worker [01] \\(pid [0-9]+\\) was killed by signal 9 \\(Killed\\); "
                          "log: .*/logs/worker-[01].log\nworker [01] was started again \\(pid [0-9]+\\)\n"));
  EXPECT_EQ(Contents(daemons_.File("arguments")),
            "--coordinator 127.0.0.1:1\n--coordinator 127.0.0.1:1\n--coordinator 127.0.0.1:1\n");
  EXPECT_EQ(err_, "");
}

TEST_F(RunSessionTest, KilledCoordinatorGoesOnAtItsAddress) {
  daemons_.Write("tessera-coordinator", std::string("echo \"$*\"\n") + kCoordinatorThatIsTold);
  WriteWorkers("echo die > " + daemons_.run_folder() + "/go; while ! grep -q resume " +
                   daemons_.run_folder() + "/logs/coordinator.log; do sleep 0.01; done; echo > " +
                   daemons_.run_folder() + "/go",
               UntilTheEnd());
  daemons_.Write("tessera-server", UntilTheEnd());
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kDone);
  EXPECT_THAT(out_, ContainsRegex("coordinator \\(pid [0-9]+\\) was killed by signal 9"));
  EXPECT_THAT(out_, HasSubstr("coordinator was started again"));
  EXPECT_EQ(Contents(LogFile(daemons_.run_folder(), "coordinator")),
            absl::StrCat("--config job.yaml --bind 127.0.0.1:0 --run-folder ", daemons_.run_folder(),
                         " --set train.epochs=1\n--config job.yaml --bind 127.0.0.1:1 --run-folder ",
                         daemons_.run_folder(), " --set train.epochs=1 --resume\n"));
}

TEST_F(RunSessionTest, WorkerThatKeepsDyingEndsTheRunWithOneLineThatNamesIt) {
  daemons_.Write("tessera-worker", "kill -9 $$");
  const SessionEnd end = RunCluster();
  EXPECT_EQ(end.signal, 0);
  EXPECT_EQ(end.outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_FALSE(end.outcome.coordinator_knows);
  EXPECT_THAT(
      err_, MatchesRegex("tessera: worker [01] \\(pid [0-9]+\\) was killed by signal 9 \\(Killed\\); "
                         "log: .*/logs/worker-[01].log; given up: started again 5 times within a minute\n"));
}

TEST_F(RunSessionTest, WrongCommandLineIsQuotedAndNotTriedAgain) {
  WriteWorkers("echo 'no such flag' >&2; exit 2");
  EXPECT_EQ(RunCluster().outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, HasSubstr("exited with status 2: no such flag; log: "));
  EXPECT_THAT(out_, Not(HasSubstr("started again")));
}

TEST_F(RunSessionTest, WithoutRestartsTheRunEndsWithItsLastWorker) {
  daemons_.Write("tessera-worker", "kill -9 $$");
  EXPECT_EQ(RunCluster(/*restart=*/false).outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, MatchesRegex("tessera: no worker is left: worker [01] \\(pid [0-9]+\\) was killed .*\n"));
  EXPECT_THAT(out_, Not(HasSubstr("started again")));
}

TEST_F(RunSessionTest, WithoutRestartsTheRunEndsWithItsCoordinator) {
  daemons_.Write("tessera-coordinator", kCoordinatorThatIsTold);
  WriteWorkers("echo die > " + daemons_.run_folder() + "/go");
  EXPECT_EQ(RunCluster(/*restart=*/false).outcome.kind, RunOutcome::Kind::kFailed);
  EXPECT_THAT(err_, MatchesRegex("tessera: coordinator \\(pid [0-9]+\\) was killed by signal 9 .*\n"));
}

TEST_F(RunSessionTest, FaultsThatNeverFiredAreKnown) {
  daemons_.Write("tessera-coordinator", kCoordinatorThatIsTold);
  daemons_.Write("tessera-server", UntilTheEnd());
  WriteWorkers("echo > " + daemons_.run_folder() + "/go", UntilTheEnd());
  EXPECT_EQ(RunCluster(true, "kill server:1 @step 4; drop 2%; slow worker:1 4x").outcome.kind,
            RunOutcome::Kind::kDone);
  EXPECT_THAT(unfired_, ElementsAre("kill server:1 @step 4"));
  ASSERT_EQ(injections_.size(), 2u);
  EXPECT_EQ(injections_[0].fault, "slow worker:1 4x");
  EXPECT_GT(injections_[0].pid, 0);
  EXPECT_EQ(injections_[1].fault, "drop 2%");
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
