#include "cli/run_session.h"

#include <signal.h>

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/summary.h"
#include "cli/text.h"
#include "common/run_folder.h"

namespace tessera::cli {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(60);
constexpr absl::Duration kPollInterval = absl::Milliseconds(250);
constexpr absl::Duration kPollTimeout = absl::Seconds(1);
constexpr absl::Duration kPlainInterval = absl::Seconds(5);
constexpr absl::Duration kReportTimeout = absl::Seconds(2);

// A coordinator that answers nobody is away for the view after the first, and killed after so many leases.
// Two questions, since a command that was suspended itself finds one that is too old.
constexpr absl::Duration kAway = absl::Seconds(1);
constexpr int kLeasesOfTheSilent = 3;
constexpr int kUnansweredOfTheSilent = 2;
// How long training may stand still while a plan of faults keeps a node dead.
constexpr absl::Duration kShortestStall = absl::Seconds(30);
constexpr int kLeasesOfAStall = 10;

// An orderly end: last heartbeats and, on a stop, the steps being computed.
constexpr absl::Duration kOrderly = absl::Seconds(10);
constexpr absl::Duration kInterrupted = absl::Seconds(5);
constexpr absl::Duration kTerminate = absl::Seconds(2);
// Before the job runs, there is nothing to finish.
constexpr absl::Duration kNotYetUp = absl::Seconds(1);
constexpr absl::Duration kTerminateNotYetUp = absl::Milliseconds(300);
// A failure: the coordinator stays a moment to tell its nodes, or is told to end the job itself.
constexpr absl::Duration kFailureNotice = absl::Milliseconds(400);
constexpr absl::Duration kGivenUp = absl::Seconds(2);
constexpr absl::Duration kTerminateFailed = absl::Milliseconds(300);

std::unique_ptr<ProgressView> MakeView(const Console& console) {
  if (console.live) return std::make_unique<LiveView>(console.out, console.style, console.width);
  return std::make_unique<PlainView>(console.out, kPlainInterval);
}

std::string Plural(int count, absl::string_view noun) {
  return absl::StrCat(count, " ", noun, count == 1 ? "" : "s");
}

}  // namespace

RunSession::RunSession(ClusterOptions cluster, SessionOptions options, SignalWatch* signals,
                       const Console& console)
    : run_folder_(cluster.run_folder),
      options_(std::move(options)),
      signals_(signals),
      console_(console),
      cluster_(std::move(cluster)),
      supervision_(cluster_.places(), {.restart = options_.restart,
                                       .lease = options_.lease,
                                       .seed = static_cast<uint64_t>(absl::ToUnixNanos(absl::Now()))}),
      view_(MakeView(console)) {
  if (options_.plan.has_value()) {
    chaos_.emplace(*options_.plan, &cluster_, std::max(kShortestStall, kLeasesOfAStall * options_.lease));
  }
}

std::vector<Injection> RunSession::injections() const {
  return chaos_.has_value() ? chaos_->player().injections() : std::vector<Injection>();
}

std::vector<std::string> RunSession::unfired() const {
  return chaos_.has_value() ? chaos_->player().Unfired() : std::vector<std::string>();
}

SessionEnd RunSession::Run() {
  std::optional<RunOutcome> outcome = Start();
  if (!outcome.has_value() && signals_seen_ == 0) outcome = Supervise();
  view_->Close();
  const SessionEnd end = outcome.has_value() ? Finish(*outcome) : Interrupt();
  poller_.reset();
  return end;
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
  client_.emplace(cluster_.address());
  absl::StatusOr<std::unique_ptr<StatusPoller>> poller =
      StatusPoller::Start([this] { return client_->GetStatus(kPollTimeout); }, kPollInterval);
  if (!poller.ok()) return RunOutcome{.message = std::string(poller.status().message())};
  poller_ = *std::move(poller);
  if (const absl::Status started = chaos_.has_value() ? chaos_->Start() : absl::OkStatus(); !started.ok()) {
    return RunOutcome{.message = std::string(started.message())};
  }
  last_answer_ = absl::Now();
  answer_due_ = last_answer_ + kStartTimeout;
  while (CountSignals() == 0) {
    TakeExits();
    if (const std::optional<wire::JobStatus> status = poller_->Take()) TakeStatus(*status);
    CheckSilence(poller_->unanswered());
    PlayChaos();
    StartDue();
    if (watch_.outcome().has_value()) return watch_.outcome();
    cluster_.processes()->Wait({signals_->fd(), poller_->fd(), chaos_.has_value() ? chaos_->fd() : -1},
                               TimeToNextCheck());
  }
  return std::nullopt;
}

void RunSession::CheckSilence(int unanswered) {
  const absl::Time now = absl::Now();
  if (unanswered < kUnansweredOfTheSilent || now < last_answer_ + kAway) return;
  const std::string since = FormatSeconds(absl::ToDoubleSeconds(now - last_answer_));
  view_->Away(absl::StrCat("the coordinator is away: no answer for ", since));
  if (chaos_.has_value() && chaos_->Stopped(LocalCluster::kCoordinator)) {
    answer_due_ = now + kLeasesOfTheSilent * options_.lease;
  }
  if (now < answer_due_ || silent_ || !coordinator().running()) return;
  silent_ = true;
  coordinator().Kill(SIGKILL);
}

void RunSession::TakeStatus(const wire::JobStatus& status) {
  last_answer_ = absl::Now();
  answer_due_ = last_answer_ + kLeasesOfTheSilent * options_.lease;
  if (status.phase() == wire::RUNNING) {
    std::map<int64_t, std::string> names;
    for (const wire::NodeStatus& node : status.nodes()) {
      if (node.alive()) names[node.pid()] = node.name();
    }
    cluster_.AdoptNames(names);
    named_ = true;
  }
  if (chaos_.has_value()) chaos_->OnStatus(status);
  watch_.OnStatus(status);
  view_->Update(status, absl::Now());
}

void RunSession::TakeExits() {
  for (const size_t process : cluster_.processes()->TakeExits()) TakeExit(process);
}

void RunSession::TakeExit(size_t index) {
  const Process& process = cluster_.processes()->process(index);
  const bool coordinator = index == LocalCluster::kCoordinator;
  std::string line = cluster_.DescribeExit(index, *process.exit());
  if (coordinator && std::exchange(silent_, false)) {
    line = absl::StrCat(process.name(), " (pid ", process.pid(), ") did not answer for ",
                        absl::FormatDuration(kLeasesOfTheSilent * options_.lease),
                        "; log: ", process.log_path());
  }
  if (coordinator) {
    const absl::StatusOr<Summary> summary = ReadSummary(SummaryFile(run_folder_));
    watch_.OnCoordinatorExit(summary.ok() ? std::make_optional(*summary) : std::nullopt);
    if (watch_.outcome().has_value()) return;
  } else {
    client_->ReportExit(process.pid(), line, kReportTimeout);
  }
  const AfterExit after = chaos_.has_value() ? chaos_->OnExit(index) : AfterExit::kSupervise;
  supervision_.OnExit(index, *process.exit(), line, after != AfterExit::kSupervise, absl::Now());
  if (after == AfterExit::kStart) StartAgain(index);
}

void RunSession::PlayChaos() {
  if (!chaos_.has_value()) return;
  const auto tell = [this](const std::string& line) { view_->Note(line); };
  for (const size_t process : chaos_->Play(absl::Now(), tell)) StartAgain(process);
  if (chaos_->failure().has_value()) watch_.OnFailure(*chaos_->failure());
}

void RunSession::StartDue() {
  const std::vector<size_t> due = supervision_.TakeDue(absl::Now());
  for (const std::string& line : supervision_.TakeNews()) view_->Note(line);
  if (supervision_.failure().has_value()) watch_.OnFailure(*supervision_.failure());
  if (watch_.outcome().has_value()) return;
  for (const size_t process : due) StartAgain(process);
}

void RunSession::StartAgain(size_t index) {
  const absl::Status started = cluster_.Restart(index);
  if (!started.ok()) return watch_.OnFailure(std::string(started.message()));
  supervision_.OnStarted(index);
  const Process& process = cluster_.processes()->process(index);
  view_->Note(absl::StrCat(process.name(), " was started again (pid ", process.pid(), ")"));
  if (index == LocalCluster::kCoordinator) answer_due_ = absl::Now() + kStartTimeout;
}

absl::Duration RunSession::TimeToNextCheck() const {
  // Silence makes no event: it is looked for at the pace of the questions.
  absl::Time next = std::min(absl::Now() + kPollInterval, supervision_.NextDue());
  if (chaos_.has_value()) next = std::min(next, chaos_->NextPlay());
  return next - absl::Now();
}

SessionEnd RunSession::Finish(const RunOutcome& outcome) {
  if (chaos_.has_value()) chaos_->KillStopped();
  if (outcome.kind != RunOutcome::Kind::kFailed) {
    StopAll(kOrderly, kTerminate);
    return {.outcome = outcome};
  }
  console_.Error(outcome.message);
  if (!outcome.coordinator_knows && cluster_.processes()->size() > 0) {
    coordinator().Kill(SIGTERM);
    if (!coordinator().running()) TerminateNodes();
  }
  StopAll(outcome.coordinator_knows ? kFailureNotice : kGivenUp, kTerminateFailed);
  return {.outcome = outcome};
}

SessionEnd RunSession::Interrupt() {
  console_.Line("stopping");
  if (chaos_.has_value()) chaos_->KillStopped();
  if (cluster_.processes()->size() > 0) {
    // It tells the nodes, and writes the summary. Nodes are asked themselves only if they do not hear of it,
    // or may not know the coordinator yet.
    coordinator().Kill(first_signal_ == SIGINT ? SIGINT : SIGTERM);
    if (!named_ || poller_->unanswered() > 0) TerminateNodes();
    StopAll(named_ ? kInterrupted : kNotYetUp, named_ ? kTerminate : kTerminateNotYetUp);
  }
  return {.signal = first_signal_};
}

void RunSession::TerminateNodes() {
  ProcessGroup* processes = cluster_.processes();
  // At once: after SIGTERM they would wait for others to take their part.
  for (size_t i = LocalCluster::kCoordinator + 1; i < processes->size(); ++i)
    processes->process(i).Kill(SIGINT);
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
