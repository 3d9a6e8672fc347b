// One job's coordinator: JobState under a lock, tied to time, files and the servers' weights. Knows no gRPC
// service; CoordinatorService adapts it.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "coordinator/checkpoint_store.h"
#include "coordinator/job_state.h"
#include "coordinator/model_collector.h"
#include "coordinator/time_source.h"
#include "job/job_plan.h"
#include "proto/coordinator_service.pb.h"

namespace tessera {

struct CoordinatorOptions {
  std::string run_folder;  // must exist; model.safetensors and summary.json go there
  ModelCollector collect;
  TimeSource now = SteadyTime();
  JobStateOptions state;  // `journaled` follows from save_journal
  // Makes a state durable; blocks. Empty: the job cannot be resumed, and nothing waits for it.
  std::function<absl::Status(absl::string_view)> save_journal;
  CheckpointStore checkpoints;  // empty: there never is one
};

// Thread-safe. No call but Resume, Run, Tick and SeeToCheckpoints blocks or does I/O.
class Coordinator {
 public:
  Coordinator(JobPlan plan, CoordinatorOptions options);

  // Goes on from a journal, before anything else. Errors: those of JobState::FromJournal.
  absl::Status Resume(const std::string& journal);

  // The calls of proto/coordinator_service.proto; errors as in JobState.
  absl::Status Register(const wire::RegisterRequest& request, wire::RegisterReply* reply);
  absl::Status Heartbeat(const wire::HeartbeatRequest& request, wire::HeartbeatReply* reply);
  absl::Status GetClusterMap(const wire::GetClusterMapRequest& request, wire::ClusterMap* reply);
  absl::Status ReportEvaluation(const wire::ReportEvaluationRequest& request,
                                wire::ReportEvaluationReply* reply);
  absl::Status ReportFailure(const wire::ReportFailureRequest& request, wire::ReportFailureReply* reply);
  absl::Status ReportExit(const wire::ReportExitRequest& request, wire::ReportExitReply* reply);
  absl::Status ReportCheckpoint(const wire::ReportCheckpointRequest& request,
                                wire::ReportCheckpointReply* reply);
  absl::Status TakeCheckpoint(const wire::TakeCheckpointRequest& request, wire::TakeCheckpointReply* reply);
  absl::Status GetStatus(const wire::GetStatusRequest& request, wire::JobStatus* reply);
  absl::Status Stop(const wire::StopRequest& request, wire::StopReply* reply);

  // As Stop; `reason` says who wants it.
  void RequestStop(const std::string& reason);

  // Sees to the job until it is over, its files are written and its nodes have left or lost their lease (for
  // at most kGoodbye; after a failure: have been told, for at most kFailureNotice). Starts two threads, one
  // that ticks and writes the journal, one for the checkpoints' files, and joins them. To be called once.
  // Errors: why the job failed, in one line that names who or what.
  absl::Status Run();

  // One turn of the first thread: ends leases that have run out, makes the next map, writes the journal and
  // the log. Tests call it in place of Run.
  void Tick();
  // One turn of the second: writes manifests that are due, looks for a checkpoint where one is wanted.
  void SeeToCheckpoints();

  static constexpr absl::Duration kTick = absl::Milliseconds(50);
  static constexpr absl::Duration kJournalRetry = absl::Seconds(1);
  static constexpr absl::Duration kFailureNotice = absl::Milliseconds(800);
  static constexpr absl::Duration kGoodbye = absl::Seconds(60);

 private:
  // Something may have changed: wakes whom it concerns.
  void Wake() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsJournalDue() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void TickUntilQuit();
  void SaveJournal();
  void OnJournalFailure(const absl::Status& failure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SeeToCheckpointsUntilQuit();
  bool WriteManifest();
  void FindRestore();
  void AwaitEndOfTraining();
  // False: there is to be another try.
  bool Collect();
  bool MayCollectAgain(const absl::Status& failure) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status SaveModel();
  void SaveSummaryOfEnd();
  absl::Status WriteSummary(const std::string& json) const;
  void AwaitNodes();

  const CoordinatorOptions options_;
  Mutex mutex_;      // guards everything below; never held over I/O
  CondVar changed_;  // something in state_ changed
  CondVar to_do_;    // a thread of Run has something to do, or is to end
  JobState state_ ABSL_GUARDED_BY(mutex_);
  int64_t saved_ ABSL_GUARDED_BY(mutex_) = 0;  // state_.changes() that the journal has
  absl::Time save_after_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool journal_failed_ ABSL_GUARDED_BY(mutex_) = false;
  bool search_failed_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time collect_until_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  std::string summary_json_ ABSL_GUARDED_BY(mutex_);  // empty until the job is over
  bool quit_ ABSL_GUARDED_BY(mutex_) = false;         // ends the threads
};

}  // namespace tessera
