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
// Between two tries to read a folder, or to reach a server.
constexpr absl::Duration kTryAgainAfter = absl::Milliseconds(500);

JobStateOptions StateOptions(const CoordinatorOptions& options) {
  JobStateOptions state = options.state;
  state.journaled = options.save_journal != nullptr;
  return state;
}

// A server that does not answer may be dead: then the coordinator hears of it, or it comes back.
bool MayPass(const absl::Status& failure) {
  return absl::IsUnavailable(failure) || absl::IsDeadlineExceeded(failure) || absl::IsAborted(failure) ||
         absl::IsNotFound(failure);
}

}  // namespace

Coordinator::Coordinator(JobPlan plan, CoordinatorOptions options)
    : options_(std::move(options)), state_(std::move(plan), options_.now(), StateOptions(options_)) {}

absl::Status Coordinator::Resume(const std::string& journal) {
  MutexLock lock(&mutex_);
  return state_.FromJournal(journal, options_.now());
}

void Coordinator::Wake() {
  changed_.NotifyAll();
  if (IsJournalDue() || state_.restore_wanted() || state_.has_whole_checkpoint()) to_do_.NotifyAll();
}

absl::Status Coordinator::Register(const wire::RegisterRequest& request, wire::RegisterReply* reply) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.Register(request, options_.now(), reply);
  Wake();
  return status;
}

absl::Status Coordinator::Heartbeat(const wire::HeartbeatRequest& request, wire::HeartbeatReply* reply) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.Heartbeat(request, options_.now(), reply);
  Wake();
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
  Wake();
  return status;
}

absl::Status Coordinator::ReportFailure(const wire::ReportFailureRequest& request,
                                        wire::ReportFailureReply*) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.ReportFailure(request, options_.now());
  Wake();
  return status;
}

absl::Status Coordinator::ReportExit(const wire::ReportExitRequest& request, wire::ReportExitReply*) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.ReportExit(request, options_.now());
  Wake();
  return status;
}

absl::Status Coordinator::ReportCheckpoint(const wire::ReportCheckpointRequest& request,
                                           wire::ReportCheckpointReply*) {
  MutexLock lock(&mutex_);
  const absl::Status status = state_.ReportCheckpoint(request, options_.now());
  Wake();
  return status;
}

absl::Status Coordinator::TakeCheckpoint(const wire::TakeCheckpointRequest&,
                                         wire::TakeCheckpointReply* reply) {
  MutexLock lock(&mutex_);
  return state_.TakeCheckpoint(reply);
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
  Wake();
}

absl::Status Coordinator::Run() {
  std::thread ticker([this] { TickUntilQuit(); });
  std::thread keeper([this] { SeeToCheckpointsUntilQuit(); });
  do {
    AwaitEndOfTraining();
  } while (!Collect());
  SaveSummaryOfEnd();
  AwaitNodes();
  {
    MutexLock lock(&mutex_);
    quit_ = true;
    to_do_.NotifyAll();
  }
  ticker.join();
  keeper.join();
  Tick();
  MutexLock lock(&mutex_);
  return state_.phase() == JobPhase::kFailed ? absl::AbortedError(state_.failure()) : absl::OkStatus();
}

bool Coordinator::IsJournalDue() {
  return options_.save_journal != nullptr && state_.changes() > saved_ && options_.now() >= save_after_;
}

void Coordinator::TickUntilQuit() {
  while (true) {
    Tick();
    const absl::Time next_tick = absl::Now() + kTick;
    MutexLock lock(&mutex_);
    while (!quit_ && absl::Now() < next_tick) {
      if (!IsJournalDue()) to_do_.WaitWithTimeout(&mutex_, std::min(kTick, next_tick - absl::Now()));
      if (!IsJournalDue()) continue;
      mutex_.Unlock();
      SaveJournal();
      mutex_.Lock();
    }
    if (quit_) return;
  }
}

void Coordinator::Tick() {
  {
    MutexLock lock(&mutex_);
    state_.Tick(options_.now());
    Wake();
  }
  SaveJournal();
  std::vector<LogLine> lines;
  {
    MutexLock lock(&mutex_);
    lines = state_.TakeLogLines();
  }
  for (const LogLine& line : lines)
    spdlog::log(line.bad ? spdlog::level::warn : spdlog::level::info, "{}", line.text);
}

void Coordinator::SaveJournal() {
  std::string journal;
  int64_t changes = 0;
  {
    MutexLock lock(&mutex_);
    if (!IsJournalDue()) return;
    changes = state_.changes();
    journal = state_.ToJournal(options_.now());
  }
  const absl::Status saved = options_.save_journal(journal);
  MutexLock lock(&mutex_);
  if (!saved.ok()) return OnJournalFailure(saved);
  journal_failed_ = false;
  saved_ = changes;
  state_.OnJournaled(changes);
  changed_.NotifyAll();
}

void Coordinator::OnJournalFailure(const absl::Status& failure) {
  save_after_ = options_.now() + kJournalRetry;
  if (journal_failed_) return;
  journal_failed_ = true;
  state_.Warn(absl::StrCat("the journal cannot be written, so no node hears of changes until it can: ",
                           std::string(failure.message())),
              options_.now());
}

void Coordinator::SeeToCheckpointsUntilQuit() {
  while (true) {
    SeeToCheckpoints();
    MutexLock lock(&mutex_);
    const bool waits = search_failed_ || (!state_.restore_wanted() && !state_.has_whole_checkpoint());
    if (!quit_ && waits) to_do_.WaitWithTimeout(&mutex_, search_failed_ ? kTryAgainAfter : kLongestWait);
    if (quit_) return;
  }
}

void Coordinator::SeeToCheckpoints() {
  // Those that are whole come first: what is looked for may be among them.
  while (WriteManifest()) {
  }
  FindRestore();
}

bool Coordinator::WriteManifest() {
  std::optional<WholeCheckpoint> whole;
  int64_t rewind = 0;
  {
    MutexLock lock(&mutex_);
    whole = state_.TakeWholeCheckpoint();
    rewind = state_.rewind();
  }
  if (!whole.has_value()) return false;
  absl::StatusOr<std::string> folder = absl::UnimplementedError("this run keeps no checkpoints");
  if (options_.checkpoints.finish != nullptr) folder = options_.checkpoints.finish(*whole, rewind);
  MutexLock lock(&mutex_);
  state_.OnCheckpoint(whole->clock, folder.ok() ? *folder : "", folder.status(), options_.now());
  Wake();
  return true;
}

void Coordinator::FindRestore() {
  {
    MutexLock lock(&mutex_);
    if (!state_.restore_wanted()) return;
  }
  absl::StatusOr<FoundCheckpoint> found = FoundCheckpoint{};
  if (options_.checkpoints.find_newest != nullptr) found = options_.checkpoints.find_newest();
  MutexLock lock(&mutex_);
  if (!found.ok()) {
    // To go back to the start, because a folder could not be read, would be to lose the run.
    if (!search_failed_) {
      state_.Warn(absl::StrCat("the checkpoints cannot be read, and are tried again: ",
                               std::string(found.status().message())),
                  options_.now());
    }
    search_failed_ = true;
    return;
  }
  search_failed_ = false;
  state_.SetRestore(std::move(found->restore), found->passed_over, options_.now());
  Wake();
}

void Coordinator::AwaitEndOfTraining() {
  MutexLock lock(&mutex_);
  while (state_.phase() == JobPhase::kWaiting || state_.phase() == JobPhase::kRunning) {
    changed_.WaitWithTimeout(&mutex_, kLongestWait);
  }
}

bool Coordinator::Collect() {
  {
    MutexLock lock(&mutex_);
    if (state_.phase() != JobPhase::kFinishing) return state_.over();
    if (!state_.waiting().empty()) {  // a server is lost
      changed_.WaitWithTimeout(&mutex_, kTryAgainAfter);
      return false;
    }
  }
  const absl::Status saved = SaveModel();
  MutexLock lock(&mutex_);
  if (saved.ok()) return state_.over();  // or training went back meanwhile
  if (MayCollectAgain(saved)) return false;
  state_.Fail(std::string(saved.message()), options_.now());
  return true;
}

bool Coordinator::MayCollectAgain(const absl::Status& failure) {
  const absl::Time now = options_.now();
  if (state_.over()) return false;
  if (state_.phase() == JobPhase::kRunning) {
    collect_until_ = absl::InfiniteFuture();
    return true;
  }
  if (!MayPass(failure)) return false;
  // A server that is dead is declared so within a lease.
  if (collect_until_ == absl::InfiniteFuture()) {
    collect_until_ = now + 2 * state_.plan().job.cluster.lease + kTryAgainAfter;
  }
  if (now >= collect_until_ && state_.waiting().empty()) return false;
  changed_.WaitWithTimeout(&mutex_, kTryAgainAfter);
  return true;
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
