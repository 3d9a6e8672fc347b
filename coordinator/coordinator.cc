#include "coordinator/coordinator.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file.h"
#include "common/safetensors.h"
#include "common/status.h"

namespace tessera {
namespace {

// A wait for a change is woken by it; this only bounds it.
constexpr absl::Duration kLongestWait = absl::Seconds(5);

}  // namespace

Coordinator::Coordinator(JobPlan plan, CoordinatorOptions options)
    : options_(std::move(options)), state_(std::move(plan), options_.now()) {}

absl::Status Coordinator::Register(const wire::RegisterRequest& request, wire::RegisterReply* reply) {
  MutexLock lock(&mutex_);
  return state_.Register(request, options_.now(), reply);
}

absl::Status Coordinator::Heartbeat(const wire::HeartbeatRequest& request, wire::HeartbeatReply* reply) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.Heartbeat(request, options_.now(), reply);
  changed_.NotifyAll();
  return status;
}

absl::Status Coordinator::GetClusterMap(const wire::GetClusterMapRequest& request, wire::ClusterMap* reply) {
  MutexLock lock(&mutex_);
  return state_.GetClusterMap(request, options_.now(), reply);
}

absl::Status Coordinator::ReportEvaluation(const wire::ReportEvaluationRequest& request,
                                           wire::ReportEvaluationReply*) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.ReportEvaluation(request, options_.now());
  changed_.NotifyAll();
  return status;
}

absl::Status Coordinator::ReportFailure(const wire::ReportFailureRequest& request,
                                        wire::ReportFailureReply*) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.ReportFailure(request, options_.now());
  changed_.NotifyAll();
  return status;
}

absl::Status Coordinator::GetStatus(const wire::GetStatusRequest&, wire::JobStatus* reply) {
  MutexLock lock(&mutex_);
  state_.FillStatus(options_.now(), reply);
  reply->set_run_folder(options_.run_folder);
  reply->set_summary_json(summary_json_);
  return absl::OkStatus();
}

absl::Status Coordinator::Stop(const wire::StopRequest&, wire::StopReply*) {
  RequestStop("stopped on request");
  return absl::OkStatus();
}

void Coordinator::RequestStop(const std::string& reason) {
  MutexLock lock(&mutex_);
  state_.Stop(reason, options_.now());
  changed_.NotifyAll();
}

absl::Status Coordinator::Run() {
  std::thread ticker([this] { TickUntilQuit(); });
  AwaitEndOfTraining();
  Collect();
  SaveSummaryOfEnd();
  AwaitNodes();
  {
    MutexLock lock(&mutex_);
    quit_ = true;
    quit_changed_.NotifyAll();
  }
  ticker.join();
  Tick();
  MutexLock lock(&mutex_);
  return state_.phase() == JobPhase::kFailed ? absl::AbortedError(state_.failure()) : absl::OkStatus();
}

void Coordinator::TickUntilQuit() {
  while (true) {
    Tick();
    MutexLock lock(&mutex_);
    if (!quit_) quit_changed_.WaitWithTimeout(&mutex_, kTick);
    if (quit_) return;
  }
}

void Coordinator::Tick() {
  std::vector<LogLine> lines;
  {
    MutexLock lock(&mutex_);
    state_.Tick(options_.now());
    lines = state_.TakeLogLines();
    changed_.NotifyAll();
  }
  for (const LogLine& line : lines)
    spdlog::log(line.bad ? spdlog::level::warn : spdlog::level::info, "{}", line.text);
}

void Coordinator::AwaitEndOfTraining() {
  MutexLock lock(&mutex_);
  while (state_.phase() == JobPhase::kWaiting || state_.phase() == JobPhase::kRunning) {
    changed_.WaitWithTimeout(&mutex_, kLongestWait);
  }
}

void Coordinator::Collect() {
  {
    MutexLock lock(&mutex_);
    if (state_.phase() != JobPhase::kFinishing) return;
  }
  const absl::Status saved = SaveModel();
  MutexLock lock(&mutex_);
  if (!saved.ok()) state_.Fail(std::string(saved.message()), options_.now());
}

absl::Status Coordinator::SaveModel() {
  std::vector<ServerAssignment> servers;
  const JobPlan* plan = nullptr;
  Version updates = 0;
  {
    MutexLock lock(&mutex_);
    servers = state_.Servers();
    plan = &state_.plan();  // constant as long as state_ lives
    updates = state_.updates_per_shard();
  }
  TESSERA_ASSIGN_OR_RETURN(const CollectedModel model, options_.collect(plan->layout, servers, updates));
  const std::string digest = WeightsDigest(model.tensors);
  const std::string path = absl::StrCat(options_.run_folder, "/model.safetensors");
  TESSERA_RETURN_IF_ERROR(
      WriteSafetensors(path, model.tensors, {{"job", plan->job.name}, {"weights_digest", digest}}));

  std::string json;
  {
    MutexLock lock(&mutex_);
    state_.SetCollected(digest, model.counters);
    json = FormatSummary(state_.Summary("done", options_.now()));
  }
  // The file is there before anyone learns that the job is done.
  TESSERA_RETURN_IF_ERROR(WriteSummary(json));
  MutexLock lock(&mutex_);
  if (state_.Succeed(options_.now())) summary_json_ = json;
  return absl::OkStatus();
}

void Coordinator::SaveSummaryOfEnd() {
  std::string json;
  {
    MutexLock lock(&mutex_);
    if (state_.phase() == JobPhase::kDone) return;  // written already
    json = FormatSummary(
        state_.Summary(state_.phase() == JobPhase::kFailed ? "failed" : "stopped", options_.now()));
    summary_json_ = json;
  }
  const absl::Status written = WriteSummary(json);
  if (!written.ok()) spdlog::error("{}", std::string(written.message()));
}

absl::Status Coordinator::WriteSummary(const std::string& json) const {
  return WriteFileAtomically(absl::StrCat(options_.run_folder, "/summary.json"),
                             {{reinterpret_cast<const uint8_t*>(json.data()), json.size()}});
}

void Coordinator::AwaitNodes() {
  MutexLock lock(&mutex_);
  const bool failed = state_.phase() == JobPhase::kFailed;
  const absl::Time deadline = state_.over_since() + (failed ? kFailureNotice : kGoodbye);
  while (!state_.NodesInformed() && options_.now() < deadline) {
    changed_.WaitWithTimeout(&mutex_, std::min(kLongestWait, deadline - options_.now()));
  }
}

}  // namespace tessera
