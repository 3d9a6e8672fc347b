#include "worker/worker_node.h"

#include <signal.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "common/trace/process_trace.h"
#include "config/job_loader.h"
#include "worker/cpu/fingerprint.h"
#include "worker/map_watcher.h"
#include "worker/training.h"
#include "worker/worker_progress.h"
#include "worker/worker_session.h"

namespace tessera {
namespace {

// This worker's data must be what the coordinator planned with.
absl::Status CheckSameData(const JobPlan& plan, const wire::ClusterMap& map) {
  if (plan.train_samples == map.train_samples() && plan.test_samples == map.test_samples() &&
      plan.steps_per_epoch == map.steps_per_epoch()) {
    return absl::OkStatus();
  }
  return absl::FailedPreconditionError(absl::StrCat("the data sets here have ", plan.train_samples, " and ",
                                                    plan.test_samples, " samples, the coordinator's ",
                                                    map.train_samples(), " and ", map.test_samples()));
}

// A worker over all its incarnations.
class Worker {
 public:
  Worker(const WorkerNodeOptions& options, std::shared_ptr<LinkFaults> faults, TraceRecorder* recorder)
      : options_(options), faults_(std::move(faults)), recorder_(recorder) {}

  // What `agent` joined for, until it ends or something fails.
  absl::Status Work(NodeAgent* agent, MapWatcher* watcher, WorkerProgress* progress) {
    TESSERA_RETURN_IF_ERROR(Prepare(agent->job_yaml()));
    for (int64_t term = 0;;) {
      TESSERA_ASSIGN_OR_RETURN(const wire::ClusterMap map, watcher->Wait(term));
      TESSERA_RETURN_IF_ERROR(CheckSameData(training_->plan, map));
      term = map.term();
      if (ReplicasOf(map, agent->node_id()).empty()) {
        spdlog::info("{} has no replica to run and stays idle", agent->name());
        TESSERA_RETURN_IF_ERROR(agent->FlushReports());  // it may leave once it has adopted the map
        agent->Adopted(map);
        continue;
      }
      const SessionParts parts{agent, watcher, &*training_, progress, faults_, inbound_};
      TESSERA_ASSIGN_OR_RETURN(const WorkerSession::End end, WorkerSession::Run(parts, map));
      if (end == WorkerSession::End::kJobOver) return absl::OkStatus();
    }
  }

 private:
  // Once; a worker that joins again finds the same job.
  absl::Status Prepare(const std::string& job_yaml) {
    if (training_.has_value()) {
      return job_yaml == job_yaml_ ? absl::OkStatus()
                                   : absl::FailedPreconditionError("the coordinator has another job now");
    }
    TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJobText(job_yaml, "job", {}));
    TESSERA_ASSIGN_OR_RETURN(training_, Training::Prepare(job, options_.pace, recorder_));
    job_yaml_ = job_yaml;
    const PaceOptions& pace = options_.pace;
    if (IsPaced(pace)) {
      spdlog::warn("this worker only studies: {} of its steps take {} times as long{}",
                   pace.every == 1 ? "all" : absl::StrCat("one in ", pace.every), pace.slowdown,
                   pace.emulated_step > absl::ZeroDuration() ? ", and compute nothing" : "");
    }
    return absl::OkStatus();
  }

  const WorkerNodeOptions options_;
  const std::shared_ptr<LinkFaults> faults_;
  const std::shared_ptr<InboundLinks> inbound_ = std::make_shared<InboundLinks>();
  TraceRecorder* const recorder_;
  std::string job_yaml_;
  std::optional<Training> training_;
};

// One incarnation, from joining to leaving. `name` gets the node's.
absl::Status RunIncarnation(const NodeOptions& node, absl::Duration drain_timeout, SignalWatcher* signals,
                            Worker* worker, std::string* name) {
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<NodeAgent> agent, NodeAgent::Join(node));
  *name = agent->name();
  spdlog::info("{} joined", agent->name());
  std::atomic<bool> drains = false;
  signals->Watch([&](int signal) {
    const absl::Status reason = absl::CancelledError("interrupted by a signal");
    if (signal != SIGTERM || drains.exchange(true)) return agent->Interrupt(reason);
    agent->Drain(drain_timeout, reason);
  });
  const auto progress = std::make_shared<WorkerProgress>();  // the agent's thread may still be in this call
  agent->set_progress_source([progress](wire::HeartbeatRequest* request) { progress->Fill(request); });
  absl::Status status;
  {
    MapWatcher watcher(agent.get());
    status = agent->Conclude(worker->Work(agent.get(), &watcher, progress.get()));
  }
  signals->Watch({});
  agent->Leave();
  return status;
}

}  // namespace

absl::Status RunWorkerNode(const WorkerNodeOptions& options, SignalWatcher* signals) {
  TESSERA_ASSIGN_OR_RETURN(ProcessTrace trace, ProcessTrace::Create(options.trace_file));
  const std::shared_ptr<LinkFaults> faults = LinkFaults::Create(options.faults);
  NodeOptions node;
  node.faults = faults;
  node.coordinator = options.coordinator;
  node.patience = options.patience;
  node.kind = wire::WORKER;
  node.fingerprint = cpu::MachineFingerprint();
  node.give_up = [signals] { return signals->received() != 0; };

  Worker worker(options, faults, trace.recorder());
  std::string name = "worker";
  absl::Status status = RunIncarnation(node, options.drain_timeout, signals, &worker, &name);
  while (NodeAgent::Evicted(status) && signals->received() == 0) {
    spdlog::warn("{}; joining again", std::string(status.message()));
    status = RunIncarnation(node, options.drain_timeout, signals, &worker, &name);
  }
  if (faults != nullptr) spdlog::info("{}", faults->Summary());
  const absl::Status traced = trace.Write(name);
  return status.ok() ? traced : status;
}

}  // namespace tessera
