#include "cli/chaos_injector.h"

#include <signal.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/text.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

constexpr absl::Duration kStepInterval = absl::Milliseconds(20);
constexpr absl::Duration kStepTimeout = absl::Milliseconds(100);

}  // namespace

ChaosInjector::ChaosInjector(const ChaosPlan& plan, LocalCluster* cluster, absl::Duration patience)
    : plan_(plan), cluster_(cluster), patience_(patience), player_(plan) {}

absl::Status ChaosInjector::Start() {
  RecordFromStart(absl::Now());
  if (!player_.pending()) return absl::OkStatus();
  const auto ask = [this](const std::vector<std::string>& addresses) {
    return servers_.AppliedStep(addresses, kStepTimeout);
  };
  TESSERA_ASSIGN_OR_RETURN(steps_, StepWatch::Start(ask, kStepInterval));
  return absl::OkStatus();
}

void ChaosInjector::RecordFromStart(absl::Time now) {
  for (const ChaosSlowdown& slowdown : plan_.slowdowns) {
    const Place place = {PlaceKind::kWorker, slowdown.worker};
    player_.OnInjected({.fault = FormatChaosSlowdown(slowdown),
                        .node = FormatPlace(place),
                        .pid = cluster_->processes()->process(cluster_->IndexOf(place)).pid(),
                        .when = now});
  }
  for (const auto& [verb, percent] :
       {std::make_pair("drop", plan_.drop_percent), {"cut", plan_.cut_percent}}) {
    if (percent <= 0) continue;
    player_.OnInjected(
        {.fault = absl::StrCat(verb, " ", FormatExact(percent), "%"), .node = "all", .when = now});
  }
}

void ChaosInjector::OnStatus(const wire::JobStatus& status) {
  if (steps_ == nullptr) return;
  std::vector<std::string> addresses;
  for (const wire::NodeStatus& node : status.nodes()) {
    if (node.alive() && absl::StartsWith(node.name(), "server ")) addresses.push_back(node.address());
  }
  if (!addresses.empty()) steps_->SetServers(std::move(addresses));
}

std::vector<size_t> ChaosInjector::Play(absl::Time now, const std::function<void(const std::string&)>& tell) {
  std::vector<size_t> to_start;
  Wake(now);
  const std::optional<int64_t> step = steps_ == nullptr ? std::nullopt : steps_->Take();
  if (!step.has_value()) return to_start;
  InjectDue(*step, now, &to_start, tell);
  if (const std::optional<std::string> stalled = player_.Stalled(*step, patience_, now)) failure_ = stalled;
  if (!player_.pending()) steps_.reset();
  return to_start;
}

void ChaosInjector::InjectDue(int64_t step, absl::Time now, std::vector<size_t>* to_start,
                              const std::function<void(const std::string&)>& tell) {
  const auto alive = [this](const Place& place) { return Alive(place); };
  // One at a time: each may change who is alive.
  for (std::vector<size_t> due = player_.Due(step, alive); !due.empty(); due = player_.Due(step, alive)) {
    const ChaosFault& fault = player_.fault(due.front());
    const size_t index = cluster_->IndexOf(fault.place);
    const pid_t pid = cluster_->processes()->process(index).pid();
    tell(absl::StrCat("chaos: ", FormatChaosFault(fault), " (pid ", pid, ", step ", step, ")"));
    if (Inject(fault)) to_start->push_back(index);
    player_.OnInjected(due.front(), pid, step, now);
  }
}

bool ChaosInjector::Inject(const ChaosFault& fault) {
  const size_t index = cluster_->IndexOf(fault.place);
  Process& process = cluster_->processes()->process(index);
  if (fault.kind == ChaosFault::Kind::kStop) {
    process.Kill(SIGSTOP);
    return false;
  }
  if (fault.kind == ChaosFault::Kind::kRestart && cluster_->processes()->exit_taken(index)) return true;
  if (fault.kind == ChaosFault::Kind::kRestart) restarting_.insert(index);
  dying_.insert(index);
  process.Kill(SIGKILL);
  return false;
}

bool ChaosInjector::Alive(const Place& place) {
  const size_t index = cluster_->IndexOf(place);
  return dying_.count(index) == 0 && cluster_->processes()->process(index).running();
}

void ChaosInjector::Wake(absl::Time now) {
  for (const ChaosPlayer::Wake& wake : player_.TakeWakes(now)) {
    Process& process = cluster_->processes()->process(cluster_->IndexOf(wake.place));
    if (process.pid() == wake.pid) process.Kill(SIGCONT);
  }
}

void ChaosInjector::KillStopped() {
  for (size_t i = 0; i < cluster_->processes()->size(); ++i) {
    if (Stopped(i)) cluster_->processes()->process(i).Kill(SIGKILL);
  }
}

AfterExit ChaosInjector::OnExit(size_t process) {
  dying_.erase(process);
  if (restarting_.erase(process) > 0) return AfterExit::kStart;
  return player_.Holds(cluster_->places()[process]) ? AfterExit::kHold : AfterExit::kSupervise;
}

bool ChaosInjector::Stopped(size_t process) const { return player_.Stopped(cluster_->places()[process]); }

}  // namespace tessera::cli
