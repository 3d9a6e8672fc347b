// A server's or worker's tie to the coordinator: registers, renews the lease, learns the phase, reports.
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "proto/coordinator_service.grpc.pb.h"

namespace tessera {

struct NodeOptions {
  std::string coordinator;  // host:port
  wire::NodeKind kind = wire::SERVER;
  std::string address;                          // where this node is reached; empty for a worker
  std::string fingerprint;                      // workers
  absl::Duration patience = absl::Seconds(60);  // for the coordinator to be there at all
  std::function<bool()> give_up;  // asked between tries, e.g. whether a signal came; empty: never
};

// Thread-safe. Starts one thread, which sends heartbeats; the destructor joins it.
class NodeAgent {
 public:
  // Registers, trying again with a jittered backoff while the coordinator cannot be reached, for `patience`
  // at most. Errors: kUnavailable, not reached in time; kFailedPrecondition, refused (another protocol
  // version, cluster full, ...).
  static absl::StatusOr<std::unique_ptr<NodeAgent>> Join(const NodeOptions& options);
  ~NodeAgent();

  const std::string& name() const { return name_; }  // "server 0"
  int index() const { return registration_.index(); }
  const std::string& job_yaml() const { return registration_.job_yaml(); }

  // Fills in what each heartbeat reports; called from the heartbeat thread.
  void set_progress_source(std::function<void(wire::HeartbeatRequest*)> source);
  // Called once, from any thread, when the job is over for this node; at once if it is already.
  void set_on_end(std::function<void(absl::Status)> on_end);

  // Waits until every node has come. Logs for whom it waits. Errors: the end of the job before that.
  absl::StatusOr<wire::ClusterMap> WaitForMap();

  // Waits for the job's end. OK: done or stopped. Errors: kAborted, the job failed (the coordinator's
  // message); kUnavailable, the coordinator was not reached for a lease; kCancelled, Interrupt.
  absl::Status WaitForEnd();
  // Ends the wait from this side.
  void Interrupt(absl::Status reason);

  // Sends a heartbeat now, so that progress worth telling (an epoch's end) is not overtaken by the next. Best
  // effort.
  void ReportProgress();
  // Tries again until it is taken, or the job is over. Errors: the end of the job.
  absl::Status ReportEvaluation(wire::ReportEvaluationRequest request);
  // What this node ends with, when its own work ended with `own`. The coordinator's word outranks what a node
  // saw of the end: once a job is done or stopped, peers that were lost have left in order. Asks the
  // coordinator if need be; bounded. An error that the coordinator knows nothing of yet is reported to it,
  // with `lost_node_id` as in ReportFailure.
  absl::Status Conclude(absl::Status own, int lost_node_id);
  // The last heartbeat: this process is about to exit. Best effort, bounded.
  void Leave();

 private:
  NodeAgent(NodeOptions options, std::unique_ptr<wire::CoordinatorService::Stub> stub,
            std::string incarnation, wire::RegisterReply registration);
  void RunHeartbeats();
  absl::Status Heartbeat(bool leaving, absl::Duration timeout);
  // Says that this node cannot go on. `lost_node_id`: the peer it could not reach, or 0. Best effort,
  // bounded.
  void ReportFailure(const absl::Status& failure, int lost_node_id);
  void OnPhase(const wire::HeartbeatReply& reply);
  void End(absl::Status status);
  // It did not answer for a lease: no call is worth its timeout any more.
  bool coordinator_lost();
  absl::Duration NextDelay();

  const NodeOptions options_;
  const std::unique_ptr<wire::CoordinatorService::Stub> stub_;
  const std::string incarnation_;
  const wire::RegisterReply registration_;
  const std::string name_;
  const absl::Duration lease_;

  Mutex mutex_;
  CondVar changed_;
  std::function<void(wire::HeartbeatRequest*)> progress_source_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::Status)> on_end_ ABSL_GUARDED_BY(mutex_);
  wire::Phase phase_ ABSL_GUARDED_BY(mutex_) = wire::WAITING;
  std::string waiting_for_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_status_ ABSL_GUARDED_BY(mutex_);
  std::minstd_rand jitter_;  // the heartbeat thread's own
  std::thread thread_;
};

}  // namespace tessera
