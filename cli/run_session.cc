#include "cli/run_session.h"

#include <signal.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/coordinator_client.h"
#include "cli/status_poller.h"
#include "cli/summary.h"
#include "common/run_folder.h"

namespace tessera::cli {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(60);
constexpr absl::Duration kPollInterval = absl::Milliseconds(250);
constexpr absl::Duration kPollTimeout = absl::Seconds(1);
constexpr absl::Duration kPlainInterval = absl::Seconds(5);
constexpr absl::Duration kLongestWait = absl::Seconds(5);

// An orderly end: last heartbeats and, on a stop, the steps being computed.
constexpr absl::Duration kOrderly = absl::Seconds(10);
constexpr absl::Duration kInterrupted = absl::Seconds(5);
constexpr absl::Duration kTerminate = absl::Seconds(2);
// Before the job runs, there is nothing to finish.
constexpr absl::Duration kNotYetUp = absl::Seconds(1);
constexpr absl::Duration kTerminateNotYetUp = absl::Milliseconds(300);
// A failure: the coordinator stays a moment to tell its nodes, but a frozen one never ends by itself. All is
// over within the lease and a second.
constexpr absl::Duration kFailureNotice = absl::Milliseconds(400);
constexpr absl::Duration kUnnoticed = absl::Milliseconds(400);
constexpr absl::Duration kTerminateFailed = absl::Milliseconds(300);
// A node's words (common/rpc/node_agent.cc) when the coordinator has not answered it for a lease.
constexpr char kLostCoordinator[] = "lost the coordinator";
constexpr int kUnansweredOfTheSilent = 2;

std::unique_ptr<ProgressView> MakeView(const Console& console) {
  if (console.live) return std::make_unique<LiveView>(console.out, console.style, console.width);
  return std::make_unique<PlainView>(console.out, kPlainInterval);
}

std::string Plural(int count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace

RunSession::RunSession(ClusterOptions cluster, absl::Duration lease, SignalWatch* signals,
                       const Console& console)
    : run_folder_(cluster.run_folder),
      lease_(lease),
      signals_(signals),
      console_(console),
      cluster_(std::move(cluster)),
      view_(MakeView(console)),
      watch_(lease) {}

SessionEnd RunSession::Run() {
  std::optional<RunOutcome> outcome = Start();
  if (!outcome.has_value() && signals_seen_ == 0) outcome = Supervise();
  view_->Close();
  return outcome.has_value() ? Finish(*outcome) : Interrupt();
}

std::optional<RunOutcome> RunSession::Start() {
  const absl::Status started =
      cluster_.Start(kStartTimeout, signals_->fd(), [this] { return CountSignals() > 0; });
  if (CountSignals() > 0 || started.ok()) return std::nullopt;
  return RunOutcome{.kind = RunOutcome::Kind::kFailed, .message = std::string(started.message())};
}

std::optional<RunOutcome> RunSession::Supervise() {
  view_->Note(absl::StrCat("coordinator at ", cluster_.address(), ", ", Plural(cluster_.servers(), "server"),
                           ", ", Plural(cluster_.workers(), "worker"), "; logs in ", run_folder_, "/logs"));
  // From here on there are threads: every child has been started.
  CoordinatorClient client(cluster_.address());
  const auto poller =
      StatusPoller::Start([&client] { return client.GetStatus(kPollTimeout); }, kPollInterval);
  if (!poller.ok()) return RunOutcome{.message = std::string(poller.status().message())};
  while (CountSignals() == 0) {
    TakeExits();
    if (const std::optional<wire::JobStatus> status = (*poller)->Take()) TakeStatus(*status);
    CheckSilence((*poller)->unanswered());
    if (std::optional<RunOutcome> outcome = watch_.Outcome(absl::Now())) {
      // At once, so that the question being asked ends too.
      if (outcome->coordinator_silent)
        cluster_.processes()->process(LocalCluster::kCoordinator).Kill(SIGKILL);
      return outcome;
    }
    cluster_.processes()->Wait({signals_->fd(), (*poller)->fd()}, TimeToNextCheck());
  }
  return std::nullopt;
}

void RunSession::CheckSilence(int unanswered) {
  // Two, since a command that was suspended itself finds one question that is too old.
  if (unanswered >= kUnansweredOfTheSilent && absl::Now() >= last_answer_ + lease_) BelieveSilence();
}

void RunSession::BelieveSilence() {
  const Process& coordinator = cluster_.processes()->process(LocalCluster::kCoordinator);
  watch_.OnSilentCoordinator(absl::StrCat(coordinator.name(), " (pid ", coordinator.pid(),
                                          ") does not answer; log: ", coordinator.log_path()));
}

void RunSession::TakeStatus(const wire::JobStatus& status) {
  last_answer_ = absl::Now();
  if (!named_ && status.phase() == wire::RUNNING) {
    std::map<int64_t, std::string> names;
    for (const wire::NodeStatus& node : status.nodes()) names[node.pid()] = node.name();
    cluster_.AdoptNames(names);
    named_ = true;
  }
  watch_.OnStatus(status, absl::Now());
  view_->Update(status, absl::Now());
}

void RunSession::TakeExits() {
  for (const size_t index : cluster_.processes()->TakeExits()) {
    const ProcessExit exit = *cluster_.processes()->process(index).exit();
    const std::string line = cluster_.DescribeExit(index, exit);
    if (index != LocalCluster::kCoordinator) {
      const bool lost = !exit.signaled && absl::StrContains(line, kLostCoordinator);
      if (lost && cluster_.processes()->process(LocalCluster::kCoordinator).running()) BelieveSilence();
      watch_.OnNodeExit(exit, line, absl::Now());
      continue;
    }
    const absl::StatusOr<Summary> summary = ReadSummary(SummaryFile(run_folder_));
    watch_.OnCoordinatorExit(summary.ok() ? std::make_optional(*summary) : std::nullopt, line);
  }
}

absl::Duration RunSession::TimeToNextCheck() const {
  // Silence makes no event: it is looked for at the pace of the questions.
  return std::min(watch_.NextCheck() - absl::Now(),
                  last_answer_ < absl::InfiniteFuture() ? kPollInterval : kLongestWait);
}

SessionEnd RunSession::Finish(const RunOutcome& outcome) {
  if (outcome.kind != RunOutcome::Kind::kFailed) {
    StopAll(kOrderly, kTerminate);
  } else {
    console_.Error(outcome.message);
    const absl::Duration unnoticed = outcome.coordinator_silent ? absl::ZeroDuration() : kFailureNotice;
    StopAll(outcome.coordinator_will_notice ? lease_ + kUnnoticed : unnoticed, kTerminateFailed);
  }
  return {.outcome = outcome};
}

SessionEnd RunSession::Interrupt() {
  console_.Line("stopping");
  if (cluster_.processes()->size() > 0) {
    // It tells the nodes, and writes the summary. Nodes are asked themselves only if they do not hear of it,
    // or may not know the coordinator yet.
    cluster_.processes()
        ->process(LocalCluster::kCoordinator)
        .Kill(first_signal_ == SIGINT ? SIGINT : SIGTERM);
    if (!named_) TerminateNodes();
    StopAll(named_ ? kInterrupted : kNotYetUp, named_ ? kTerminate : kTerminateNotYetUp);
  }
  return {.signal = first_signal_};
}

void RunSession::TerminateNodes() {
  ProcessGroup* processes = cluster_.processes();
  for (size_t i = LocalCluster::kCoordinator + 1; i < processes->size(); ++i)
    processes->process(i).Kill(SIGTERM);
}

void RunSession::StopAll(absl::Duration voluntary, absl::Duration terminate) {
  const int before = signals_seen_;
  cluster_.processes()->Stop({.voluntary = voluntary, .terminate = terminate}, {signals_->fd()},
                             [this, before] { return CountSignals() > before; });
}

int RunSession::CountSignals() {
  while (const std::optional<int> signal = signals_->Take()) {
    if (signals_seen_++ == 0) first_signal_ = *signal;
  }
  return signals_seen_;
}

}  // namespace tessera::cli
