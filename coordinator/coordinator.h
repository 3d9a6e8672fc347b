// One job's coordinator: JobState under a lock, tied to time, files and the servers' weights. Knows no gRPC
// service; CoordinatorService adapts it.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
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
};

// Thread-safe. No call but Run blocks or does I/O.
class Coordinator {
 public:
  Coordinator(JobPlan plan, CoordinatorOptions options);

  // The calls of proto/coordinator_service.proto; errors as in JobState.
  absl::Status Register(const wire::RegisterRequest& request, wire::RegisterReply* reply);
  absl::Status Heartbeat(const wire::HeartbeatRequest& request, wire::HeartbeatReply* reply);
  absl::Status GetClusterMap(const wire::GetClusterMapRequest& request, wire::ClusterMap* reply);
  absl::Status ReportEvaluation(const wire::ReportEvaluationRequest& request,
                                wire::ReportEvaluationReply* reply);
  absl::Status ReportFailure(const wire::ReportFailureRequest& request, wire::ReportFailureReply* reply);
  absl::Status GetStatus(const wire::GetStatusRequest& request, wire::JobStatus* reply);
  absl::Status Stop(const wire::StopRequest& request, wire::StopReply* reply);

  // As Stop; `reason` says who wants it.
  void RequestStop(const std::string& reason);

  // Sees to the job until it is over, its files are written and its nodes have left or lost their lease (for
  // at most kGoodbye; after a failure: have been told, for at most kFailureNotice). Starts one thread, which
  // calls Tick, and joins it. To be called once. Errors: why the job failed, in one line that names who or
  // what.
  absl::Status Run();

  // One turn of that thread: ends leases that have run out, writes the log. Tests call it in place of Run.
  void Tick();

  static constexpr absl::Duration kTick = absl::Milliseconds(200);
  static constexpr absl::Duration kFailureNotice = absl::Milliseconds(800);
  static constexpr absl::Duration kGoodbye = absl::Seconds(60);

 private:
  void TickUntilQuit();
  void AwaitEndOfTraining();
  void Collect();
  absl::Status SaveModel();
  void SaveSummaryOfEnd();
  absl::Status WriteSummary(const std::string& json) const;
  void AwaitNodes();

  const CoordinatorOptions options_;
  Mutex mutex_;      // guards everything below; never held over I/O
  CondVar changed_;  // something in state_ changed
  CondVar quit_changed_;
  JobState state_ ABSL_GUARDED_BY(mutex_);
  std::string summary_json_ ABSL_GUARDED_BY(mutex_);  // empty until the job is over
  bool quit_ ABSL_GUARDED_BY(mutex_) = false;         // ends the ticking thread
};

}  // namespace tessera
