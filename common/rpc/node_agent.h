// A server's or worker's tie to the coordinator: registers, renews the lease, learns of new maps, reports.
// The coordinator may be away for a while: the agent goes on asking, at each of its addresses in turn, and
// what is to be reported waits (docs/adr/0009-recovery.md).
#pragma once

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/fault/link_faults.h"
#include "common/mutex.h"
#include "common/rpc/coordinator_link.h"
#include "common/rpc/report_queue.h"
#include "common/types.h"
#include "proto/coordinator_service.grpc.pb.h"

namespace tessera {

inline constexpr absl::Duration kDefaultPatience = absl::Minutes(10);

struct NodeOptions {
  std::string coordinator;  // host:port; several, separated by commas: where it may be
  wire::NodeKind kind = wire::SERVER;
  std::string address;      // where this node is reached; empty for a worker
  std::string fingerprint;  // workers
  // For the coordinator: to be there at all, and to come back when it is away.
  absl::Duration patience = kDefaultPatience;
  std::function<bool()> give_up;  // asked between tries to join, e.g. whether a signal came; empty: never
  std::shared_ptr<LinkFaults> faults;  // of calls to the coordinator; null: none
};

// Thread-safe. Starts one thread, which sends heartbeats and delivers reports; the destructor joins it.
class NodeAgent {
 public:
  // Registers as a new incarnation, trying again with a jittered backoff while the coordinator cannot be
  // reached, for `patience` at most. Errors: kUnavailable, not reached in time; kFailedPrecondition, refused
  // (another protocol version, ...); kCancelled, given up.
  static absl::StatusOr<std::unique_ptr<NodeAgent>> Join(const NodeOptions& options);
  ~NodeAgent();

  const std::string& name() const { return name_; }  // "server 0"
  int index() const { return registration_.index(); }
  int node_id() const { return registration_.node_id(); }
  const std::string& incarnation() const { return incarnation_; }
  const std::string& job_yaml() const { return registration_.job_yaml(); }
  absl::Duration lease() const { return lease_; }

  // Does `status`, an end of this agent, say that the coordinator has declared the node dead, or never knew
  // it? Then what it holds is worthless; it may join again, with another agent.
  static bool Evicted(const absl::Status& status);

  // Callbacks are called from the heartbeat thread unless said otherwise, without locks held; an old one may
  // still run when its setter returns.

  // Fills in what each heartbeat reports. `term` and `rewind` are filled in already: what is of another
  // rewind is to be left out. Also called by ReportProgress and Leave.
  void set_progress_source(std::function<void(wire::HeartbeatRequest*)> source);
  // Called once, from any thread, when the job is over for this node; at once if it is already.
  void set_on_end(std::function<void(absl::Status)> on_end);
  // Called once for each term above the adopted one that a heartbeat's answer names, also one named before.
  void set_on_new_term(std::function<void(int64_t)> on_new_term);
  // Called once for each clock that is to be saved besides the job's own, also one named before.
  void set_on_checkpoint(std::function<void(Clock)> on_checkpoint);
  // The last of them; 0: none yet.
  Clock checkpoint_clock();

  // Waits for a map of a term above `after_term`, and gives the newest that this node may adopt. Logs for
  // whom the job waits before it starts. Errors: the end of the job; kCancelled when that was in order.
  absl::StatusOr<wire::ClusterMap> WaitForMap(int64_t after_term);
  // The node works with `map` from now on: its term and rewind go with every later heartbeat, one of which
  // leaves at once.
  void Adopted(const wire::ClusterMap& map);

  // Waits for the job's end. OK: done or stopped. Errors: kAborted, the job failed (the coordinator's
  // message); kUnavailable, the coordinator was away for longer than `patience`; Evicted(); what Interrupt
  // gave.
  absl::Status WaitForEnd();
  // Ends the wait from this side.
  void Interrupt(absl::Status reason);
  // As Interrupt, once the coordinator says that this node may leave: what it holds goes to others first.
  // Where the coordinator does not answer, or does not say so for `at_most`, it is interrupted all the same.
  void Drain(absl::Duration at_most, absl::Status reason);

  // Did the last heartbeat's answer say that training is parked, for want of nodes?
  bool parked();
  // A heartbeat soon, since something is afoot (a server refused a term). Any number of calls cost one
  // heartbeat in 10 ms.
  void Poke();
  // Sends a heartbeat now, so that progress worth telling (an epoch's end) is not overtaken by the next. Best
  // effort; while the coordinator is away it does not wait.
  void ReportProgress();

  // Reports are delivered in order, each tried again until it is taken; 64 are kept, beyond which the oldest
  // is lost, and the log says so. One of an older rewind that is refused is dropped. Errors: the end of the
  // job; the coordinator's refusal of an earlier evaluation.
  absl::Status QueueEvaluation(wire::ReportEvaluationRequest request);
  // `rewind` in `request` is the caller's to fill in. A refusal is logged, and ends nothing.
  void ReportCheckpoint(wire::ReportCheckpointRequest request);
  // Waits until all have been taken or dropped. Errors: as QueueEvaluation.
  absl::Status FlushReports();

  // What this node ends with, when its own work ended with `own`. The coordinator's word outranks what a node
  // saw of the end: once a job is done or stopped, peers that were lost have left in order. Asks the
  // coordinator if need be; bounded. An error that the coordinator knows nothing of yet is reported to it.
  absl::Status Conclude(absl::Status own);
  // The last heartbeat: this process is about to exit. Best effort, bounded.
  void Leave();

 private:
  NodeAgent(NodeOptions options, std::unique_ptr<CoordinatorLink> link, std::string incarnation,
            wire::RegisterReply registration);
  // What the thread does next: nothing when it is to end.
  enum class Work { kNothing, kNews, kHeartbeat, kReport };
  void Run();
  Work WaitForWork();
  absl::Time HeartbeatAtLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsNewTermLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsNewCheckpointLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // False: the job is over, or this object goes. At most `time`.
  bool Pause(absl::Duration time);
  absl::Duration CallTimeout() const;
  // A number from 0.9 to 1.1, so that the heartbeats of many nodes do not march in step.
  double Jitter();

  // The thread's calls of the callbacks for what heartbeats have told.
  void TellNews();
  void Renew();
  void OnRenewed();
  void OnUnanswered(const absl::Status& status);
  absl::Status Heartbeat(bool leaving);
  wire::HeartbeatRequest NewHeartbeat();
  void OnReply(const wire::HeartbeatReply& reply);
  // Ends a drain that is over: `may_leave`, or it has lasted too long.
  void EndDrain(bool may_leave);
  void End(absl::Status status);
  absl::Status EndLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  // Waits until a heartbeat has named a term above `after_term`.
  absl::Status AwaitTerm(int64_t after_term);
  absl::StatusOr<wire::ClusterMap> FetchMap();

  void QueueLocked(ReportQueue::Request request) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DeliverReport();
  absl::Status Send(const ReportQueue::Report& report);
  // Logs or keeps a refusal that no second try would change.
  void OnRefused(const ReportQueue::Report& report, const absl::Status& status);
  // Says that this node cannot go on. Best effort, bounded.
  void ReportFailure(const absl::Status& failure);

  const NodeOptions options_;
  const std::unique_ptr<CoordinatorLink> link_;
  const std::string incarnation_;
  const wire::RegisterReply registration_;
  const std::string name_;
  const absl::Duration lease_;
  const absl::Duration interval_;  // between heartbeats

  Mutex mutex_;  // guards what follows; held during no call
  CondVar changed_;
  std::function<void(wire::HeartbeatRequest*)> progress_source_ ABSL_GUARDED_BY(mutex_);
  std::function<void(absl::Status)> on_end_ ABSL_GUARDED_BY(mutex_);
  std::function<void(int64_t)> on_new_term_ ABSL_GUARDED_BY(mutex_);
  std::function<void(Clock)> on_checkpoint_ ABSL_GUARDED_BY(mutex_);
  wire::Phase phase_ ABSL_GUARDED_BY(mutex_) = wire::WAITING;
  std::string waiting_for_ ABSL_GUARDED_BY(mutex_);
  int64_t adopted_term_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t adopted_rewind_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t newest_term_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t announced_term_ ABSL_GUARDED_BY(mutex_) = 0;
  Clock checkpoint_clock_ ABSL_GUARDED_BY(mutex_) = 0;
  Clock announced_checkpoint_ ABSL_GUARDED_BY(mutex_) = 0;
  int unanswered_ ABSL_GUARDED_BY(mutex_) = 0;  // heartbeats in a row
  bool poked_ ABSL_GUARDED_BY(mutex_) = false;  // since the last heartbeat left
  absl::Time last_heartbeat_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Time next_heartbeat_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  absl::Duration told_interval_ ABSL_GUARDED_BY(mutex_);  // for the next heartbeat; 0: interval_
  ReportQueue reports_ ABSL_GUARDED_BY(mutex_);
  absl::Time next_report_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // earliest
  absl::Status refused_evaluation_ ABSL_GUARDED_BY(mutex_);
  absl::Status drain_reason_ ABSL_GUARDED_BY(mutex_);  // OK: it does not drain
  absl::Time drain_until_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteFuture();
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status end_status_ ABSL_GUARDED_BY(mutex_);

  // The thread's own.
  absl::Time renewed_;
  absl::Duration report_delay_;
  std::minstd_rand jitter_;
  std::thread thread_;
};

}  // namespace tessera
