// Everything the coordinator knows of its job, and what each call of a node does to it: membership, placement
// and progress put together. A pure state machine: messages and times in, answers and log lines out; no
// thread, no clock, no I/O, so any run can be told as a script. Not thread-safe; Coordinator owns it under a
// lock. Nothing in a message is trusted: what cannot be is refused and changes nothing.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/event_log.h"
#include "coordinator/job_progress.h"
#include "coordinator/membership.h"
#include "coordinator/model_collector.h"
#include "coordinator/replica_rates.h"
#include "coordinator/run_summary.h"
#include "job/job_plan.h"
#include "proto/coordinator_service.pb.h"

namespace tessera {

class JobState {
 public:
  JobState(JobPlan plan, absl::Time now);

  // The calls of proto/coordinator_service.proto.
  // Errors of all: kInvalidArgument, a number that cannot be; kNotFound, no such node alive.
  // Register also: those of Membership::Register; kFailedPrecondition, the job is over.
  absl::Status Register(const wire::RegisterRequest& request, absl::Time now, wire::RegisterReply* reply);
  absl::Status Heartbeat(const wire::HeartbeatRequest& request, absl::Time now, wire::HeartbeatReply* reply);
  // Also: kUnavailable, not every node has come yet; kFailedPrecondition, the job was over before they had.
  absl::Status GetClusterMap(const wire::GetClusterMapRequest& request, absl::Time now,
                             wire::ClusterMap* reply);
  absl::Status ReportEvaluation(const wire::ReportEvaluationRequest& request, absl::Time now);
  absl::Status ReportFailure(const wire::ReportFailureRequest& request, absl::Time now);

  // Ends leases that have run out; says for whom the job waits.
  void Tick(absl::Time now);
  // Ends the job early, unless training is complete already. `reason` says who wants it.
  void Stop(const std::string& reason, absl::Time now);
  void Fail(const std::string& message, absl::Time now);

  // kFinishing: the servers and what they hold.
  std::vector<ServerAssignment> Servers() const;
  // The version that every shard has when training is complete.
  Version updates_per_shard() const;
  // kFinishing: what was collected from them.
  void SetCollected(const std::string& weights_digest, const TransferCounters& counters);
  // kFinishing -> kDone. False: the job has failed meanwhile.
  bool Succeed(absl::Time now);

  JobPhase phase() const { return progress_.phase(); }
  bool over() const { return progress_.over(); }
  absl::Time over_since() const { return progress_.over_since(); }
  const std::string& failure() const { return progress_.message(); }
  // After the job: no node waits to hear of it. After a failure they only need to have been told.
  bool NodesInformed() const;
  // `status`: "done", "failed", "stopped".
  RunSummary Summary(const std::string& status, absl::Time now) const;
  // All of the status page but what Coordinator knows (summary, run folder).
  void FillStatus(absl::Time now, wire::JobStatus* status) const;
  std::vector<LogLine> TakeLogLines() { return log_.TakeLines(); }

  const JobPlan& plan() const { return plan_; }
  absl::Duration heartbeat_interval() const;

 private:
  // What a worker says of itself; cumulative, so that a late heartbeat, or the empty one of a worker that has
  // ended, turns nothing back.
  struct WorkerCounters {
    int64_t pushed_bytes = 0;
    int64_t pulled_bytes = 0;
    int64_t shared_memory_bytes = 0;
    double training_seconds = 0;
  };

  void StartIfComplete(absl::Time now);
  void WarnOfIdleWorkers(absl::Time now);
  wire::ClusterMap BuildMap() const;
  absl::Status RecordProgress(const Node& node, const wire::HeartbeatRequest& request, absl::Time now);
  absl::Status CheckReplicas(const Node& node, const wire::HeartbeatRequest& request) const;
  void FinishTrainingIfComplete(absl::Time now);
  void LogEpochs();
  void OnLeave(Node* node, absl::Time now);
  void OnDeath(const Node& node, absl::Time now);
  void FailBecauseOf(const Node& node, const std::string& message, absl::Time now);
  std::string Message(absl::Time now) const;
  double ImagesPerSecond() const;
  std::vector<double> ReplicaImagesPerSecond() const;
  TransferCounters HeartbeatCounters() const;
  void FillNode(const Node& node, absl::Time now, wire::NodeStatus* status) const;
  void FillReplicas(wire::JobStatus* status) const;
  void FillStaleness(wire::JobStatus* status) const;
  void FillEpochsAndEvents(wire::JobStatus* status) const;

  const JobPlan plan_;
  const std::string job_yaml_;
  const absl::Time created_;
  Membership membership_;
  JobProgress progress_;
  ReplicaRates rates_;
  EventLog log_;
  wire::ClusterMap map_;  // empty until every node has come, as are the next two
  std::vector<std::vector<ShardId>> shards_of_server_;      // by index
  std::vector<std::vector<ReplicaId>> replicas_of_worker_;  // by index
  std::map<int32_t, WorkerCounters> worker_counters_;       // by node id
  std::map<int32_t, TransferCounters> server_progress_;     // by node id; staleness and clock lead so far
  std::string weights_digest_;                              // once collected
  TransferCounters server_counters_;                        // likewise
  absl::Time last_tick_;
  absl::Time next_waiting_line_;
  size_t epochs_logged_ = 0;
};

}  // namespace tessera
