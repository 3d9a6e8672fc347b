// Everything the coordinator knows of its job, and what each call of a node does to it: membership, the map,
// progress and checkpoints put together. A pure state machine: messages and times in, answers and log lines
// out; no thread, no clock, no I/O, so any run can be told as a script. Not thread-safe; Coordinator owns it
// under a lock. Nothing in a message is trusted: what cannot be is refused and changes nothing.
//
// What must survive the coordinator is counted by changes(); whoever owns this writes ToJournal() down and
// says so by OnJournaled. Before that no node hears of a new map, and no report is answered OK.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "coordinator/checkpoint_tracker.h"
#include "coordinator/event_log.h"
#include "coordinator/job_progress.h"
#include "coordinator/map_planner.h"
#include "coordinator/membership.h"
#include "coordinator/model_collector.h"
#include "coordinator/recomputed_steps.h"
#include "coordinator/replica_rates.h"
#include "coordinator/run_summary.h"
#include "coordinator/shard_changes.h"
#include "coordinator/work_counters.h"
#include "job/job_plan.h"
#include "proto/coordinator_service.pb.h"

namespace tessera {

struct JobStateOptions {
  bool journaled = false;         // nothing is announced before OnJournaled
  bool resume = false;            // the first map starts from the newest checkpoint, if there is one
  std::string checkpoint_folder;  // absolute
  std::string checkpoint_probe;
  absl::Duration checkpoint_every = absl::ZeroDuration();  // of time; zero: not by time
};

class JobState {
 public:
  JobState(JobPlan plan, absl::Time now, JobStateOptions options = {});

  // The calls of proto/coordinator_service.proto.
  // Errors of all: kInvalidArgument, a number that cannot be; kNotFound, no such node alive.
  // Register also: those of Membership::Register; kFailedPrecondition, the job is over.
  absl::Status Register(const wire::RegisterRequest& request, absl::Time now, wire::RegisterReply* reply);
  absl::Status Heartbeat(const wire::HeartbeatRequest& request, absl::Time now, wire::HeartbeatReply* reply);
  // Also: kUnavailable, there is none that this node may adopt yet; kFailedPrecondition, the job was over
  // before there was one.
  absl::Status GetClusterMap(const wire::GetClusterMapRequest& request, absl::Time now,
                             wire::ClusterMap* reply);
  // Also: kUnavailable, it is taken and being journaled: ask again.
  absl::Status ReportEvaluation(const wire::ReportEvaluationRequest& request, absl::Time now);
  absl::Status ReportFailure(const wire::ReportFailureRequest& request, absl::Time now);
  absl::Status ReportExit(const wire::ReportExitRequest& request, absl::Time now);
  // Also: kFailedPrecondition, of another rewind, or the cluster goes back; kUnavailable, being journaled.
  absl::Status ReportCheckpoint(const wire::ReportCheckpointRequest& request, absl::Time now);
  // Errors: kFailedPrecondition, the job does not run, or ends before that.
  absl::Status TakeCheckpoint(wire::TakeCheckpointReply* reply);

  // Ends leases that have run out; makes the next map where nodes have come or gone; says for whom the job
  // waits.
  void Tick(absl::Time now);
  // Ends the job early, unless training is complete already. `reason` says who wants it.
  void Stop(const std::string& reason, absl::Time now);
  void Fail(const std::string& message, absl::Time now);
  // An event of whoever owns this.
  void Warn(const std::string& message, absl::Time now);

  // Grows with everything that the journal must have.
  int64_t changes() const { return changes_; }
  // The state as it was at changes() == `changes` is on disk.
  void OnJournaled(int64_t changes) { journaled_ = std::max(journaled_, changes); }
  std::string ToJournal(absl::Time now) const;
  // A journal of a job that is done: there is nothing to go on with.
  static bool WasDone(const std::string& journal);
  // Goes on from a journal; to be called first of all. Nodes of the journal are alive, with a fresh lease,
  // unless the job had been stopped or had failed: then it goes on from its newest checkpoint, with nodes
  // that come. Errors: kFailedPrecondition, another job (names the key); kDataLoss, not a journal of this
  // job.
  absl::Status FromJournal(const std::string& journal, absl::Time now);

  // Somebody is to look for the newest checkpoint that is whole.
  bool restore_wanted() const { return !over() && planner_.restore_wanted(); }
  // What was found; without a folder: none, so the start. `passed_over`: damaged ones, a line each.
  void SetRestore(wire::Restore restore, const std::vector<std::string>& passed_over, absl::Time now);
  // A checkpoint of which every part is there. Its manifest is written then, and OnCheckpoint says how that
  // went.
  std::optional<WholeCheckpoint> TakeWholeCheckpoint() { return checkpoints_.TakeWhole(); }
  bool has_whole_checkpoint() const { return checkpoints_.has_whole(); }
  void OnCheckpoint(Clock clock, const std::string& folder, const absl::Status& written, absl::Time now);

  // kFinishing: the servers and what they hold.
  std::vector<ServerAssignment> Servers() const;
  // The version that every shard has when training is complete.
  Version updates_per_shard() const;
  // kFinishing: what was collected from them.
  void SetCollected(const std::string& weights_digest, const TransferCounters& counters);
  // kFinishing -> kDone. False: the job has failed meanwhile, or went back.
  bool Succeed(absl::Time now);

  JobPhase phase() const { return progress_.phase(); }
  bool over() const { return progress_.over(); }
  absl::Time over_since() const { return progress_.over_since(); }
  const std::string& failure() const { return progress_.message(); }
  int64_t rewind() const { return planner_.rewind(); }
  // What training, or the collection, waits for ("waiting for a server"), or "".
  const std::string& waiting() const { return planner_.waiting(); }
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
  // Training stands still, or may.
  struct Disruption {
    absl::Time noticed;
    std::optional<Clock> step;  // once there is a map again: where it goes on from
  };

  void Touch();
  void AddEvent(JobEvent event);
  bool IsJournaled(int64_t change) const { return journaled_ >= change; }
  absl::Status AnswerOnceJournaled() const;

  absl::Status CheckTerm(const wire::HeartbeatRequest& request) const;
  void RecordTerm(const wire::HeartbeatRequest& request, Node* node);
  void RecordServer(const wire::HeartbeatRequest& request, Node* node);
  void RecordSilence(const wire::HeartbeatRequest& request, const Node& node, absl::Time now);
  void RecordDrain(const wire::HeartbeatRequest& request, Node* node, absl::Time now);
  absl::Status RecordProgress(const Node& node, const wire::HeartbeatRequest& request, absl::Time now);
  absl::Status CheckProgress(const Node& node, const wire::HeartbeatRequest& request) const;
  absl::Status CheckClocks(const wire::HeartbeatRequest& request) const;
  void NoticeProgress(Clock before, absl::Time now);
  void FinishTrainingIfComplete(absl::Time now);
  void LogEpochs();

  std::string UseOf(const Node& node) const;
  // The term that `node` may be told of.
  int64_t TermFor(const Node& node) const;
  bool MayAdopt(const Node& node) const;
  absl::Duration NextHeartbeat(absl::Time now) const;
  bool IsChangingOver(absl::Time now) const;

  void AdvanceMap(absl::Time now);
  void OnMap(const MapPlanner::Change& change, absl::Time now);
  void AgreeOnHandover(absl::Time now);
  bool MayLeave(const Node& node) const;
  void OnStart(const MapPlanner::Change& change, absl::Time now);
  void OnRewind(const MapPlanner::Change& change, absl::Time now);
  void OnTakeovers(const wire::ClusterMap& before, absl::Time now);
  void OnShards(const wire::ClusterMap& before, absl::Time now);
  void NotePrimaries(bool anew);
  void TellMoves(absl::Time now);
  void WarnOfFewBackups(absl::Time now);
  void WarnOfIdleWorkers(absl::Time now);

  bool IsNeeded(const Node& node) const;
  void OnDeath(const Node& node, const std::string& how, absl::Time now);
  void OnLeave(const Node& node, absl::Time now);
  void OnGone(const Node& node, absl::Time now);
  bool SomebodyRuns() const;
  // There is no checkpoint at `clock`, as `node` has found out.
  void FailCheckpoint(const Node& node, Clock clock, absl::string_view why, absl::Time now);
  Clock LargestClock() const;
  Clock CheckpointLead() const;

  std::string Message(absl::Time now) const;
  double ImagesPerSecond() const;
  std::vector<double> ReplicaImagesPerSecond() const;
  void FillNode(const Node& node, absl::Time now, wire::NodeStatus* status) const;
  void FillBackups(wire::JobStatus* status) const;
  void FillReplicas(wire::JobStatus* status) const;
  void FillStaleness(wire::JobStatus* status) const;
  void FillEpochsAndEvents(wire::JobStatus* status) const;
  void NodesToJournal(wire::JournalState* journal) const;
  void NodesFromJournal(const wire::JournalState& journal, absl::Time now);

  const JobPlan plan_;
  const JobStateOptions options_;
  const std::string job_yaml_;
  const absl::Time created_;
  Membership membership_;
  MapPlanner planner_;
  JobProgress progress_;
  CheckpointTracker checkpoints_;
  ReplicaRates rates_;
  WorkCounters counters_;
  RecomputedSteps recomputed_;
  EventLog log_;
  int64_t changes_ = 1;
  int64_t journaled_ = 0;
  int64_t map_change_ = 0;     // the newest map's
  int64_t report_change_ = 0;  // of the newest report that must survive
  std::string waiting_;        // that was told of
  std::optional<Disruption> disruption_;
  absl::Time progress_seen_;  // when the slowest replica's clock last grew
  MoveTally moves_;
  std::map<int32_t, std::set<ShardId>> saves_;  // by node: shards it was the primary of, in this rewind
  size_t possible_backups_ = SIZE_MAX;          // in the newest map
  Clock servers_clock_ = 0;                     // the largest that a server reports
  std::optional<Clock> resumed_from_;
  bool resuming_ = false;      // the next start or rewind is where a resumed run goes on
  int32_t first_new_id_ = 0;   // nodes below are the journal's
  int64_t images_before_ = 0;  // that a run without a journal was resumed with
  int64_t rewinds_ = 0;
  Clock checkpoint_step_ = 0;
  std::string checkpoint_folder_;
  std::string weights_digest_;        // once collected
  TransferCounters server_counters_;  // likewise
  absl::Time last_tick_;
  absl::Time next_waiting_line_;
  size_t epochs_logged_ = 0;
};

}  // namespace tessera
