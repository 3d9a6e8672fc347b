// What JobState shows: the status page and the summary.
#include <algorithm>
#include <utility>

#include "common/protocol.h"
#include "coordinator/job_state.h"
#include "server/consistency_policy.h"

namespace tessera {
namespace {

ConsistencyOptions ConsistencyOf(const TrainSpec& train) {
  return {.replicas = train.replicas,
          .group = train.consistency.group,
          .staleness = train.consistency.staleness,
          .drop_stragglers = train.consistency.drop_stragglers};
}

}  // namespace

double JobState::ImagesPerSecond() const {
  const double seconds = counters_.TrainingSeconds();
  return seconds == 0 ? 0 : static_cast<double>(progress_.images() - images_before_) / seconds;
}

std::vector<double> JobState::ReplicaImagesPerSecond() const {
  std::vector<double> rates(plan_.job.train.replicas, 0);
  for (const wire::WorkerEntry& worker : planner_.map().workers()) {
    const double seconds = counters_.OfIndex(worker.index()).training_seconds;
    if (seconds == 0) continue;
    for (const ReplicaId replica : worker.replicas()) {
      rates[replica] =
          static_cast<double>(progress_.CountedOf(replica) * plan_.job.train.batch_size) / seconds;
    }
  }
  return rates;
}

RunSummary JobState::Summary(const std::string& status, absl::Time now) const {
  RunSummary summary{.job = plan_.job.name,
                     .seed = plan_.job.seed,
                     .status = status,
                     .message = progress_.message(),
                     .mode = plan_.job.train.consistency.mode,
                     .replicas = plan_.job.train.replicas,
                     .batch_size = plan_.job.train.batch_size,
                     .workers = membership_.NumAlive(NodeRole::kWorker),
                     .servers = membership_.NumAlive(NodeRole::kServer),
                     .steps = progress_.MinClock(),
                     .images_per_second = ImagesPerSecond(),
                     .wall_seconds = absl::ToDoubleSeconds(progress_.Elapsed(now)),
                     .weights_digest = weights_digest_,
                     .staleness_bound = ConsistencyOf(plan_.job.train).StalenessBoundVersions(),
                     .dropped = progress_.dropped(),
                     .replica_images_per_second = ReplicaImagesPerSecond(),
                     .history = progress_.FinishedEpochs(),
                     .resumed_from_step = resumed_from_,
                     .recomputed_steps = recomputed_.total(),
                     .retries = counters_.Total().retries,
                     .rewinds = rewinds_,
                     .events = log_.events()};
  if (weights_digest_.empty()) {
    summary.counters = counters_.Transfers();
  } else {
    summary.counters = server_counters_;
    summary.updates_per_shard = updates_per_shard();
  }
  return summary;
}

void JobState::FillStatus(absl::Time now, wire::JobStatus* status) const {
  const TrainSpec& train = plan_.job.train;
  status->set_job(plan_.job.name);
  status->set_phase(ToWire(phase()));
  status->set_message(Message(now));
  status->set_step(progress_.MinClock());
  status->set_total_steps(plan_.total_steps);
  status->set_steps_per_epoch(plan_.steps_per_epoch);
  status->set_epochs(train.epochs);
  status->set_train_loss(progress_.CurrentTrainLoss());
  status->set_images_per_second(ImagesPerSecond());
  status->set_mode(train.consistency.mode);
  status->set_protocol_version(kProtocolVersion);
  status->set_replicas(train.replicas);
  status->set_batch_size(train.batch_size);
  status->set_elapsed_seconds(absl::ToDoubleSeconds(progress_.Elapsed(now)));
  status->set_term(planner_.map().term());
  status->set_rewind(rewind());
  status->set_recomputed_steps(recomputed_.total());
  status->set_checkpoint_step(checkpoint_step_);
  status->set_checkpoint_folder(checkpoint_folder_);
  FillBackups(status);
  for (const auto& [id, node] : membership_.nodes()) FillNode(node, now, status->add_nodes());
  FillReplicas(status);
  FillStaleness(status);
  FillEpochsAndEvents(status);
}

void JobState::FillBackups(wire::JobStatus* status) const {
  const ShardPlan& plan = planner_.plan();
  status->set_server_backups(plan_.job.cluster.server_backups);
  if (!planner_.has_map()) return;
  size_t fewest = SIZE_MAX;
  for (const Shard& shard : plan_.layout.shards()) {
    fewest = std::min(fewest, plan.holders(shard.id).backups.size());
  }
  status->set_fewest_backups(static_cast<int32_t>(fewest));
  status->set_copying(plan.CopiesUnderWay());
  status->set_moving(plan.MovesUnderWay());
}

void JobState::FillReplicas(wire::JobStatus* status) const {
  for (const wire::WorkerEntry& worker : planner_.map().workers()) {
    for (const ReplicaId replica : worker.replicas()) {
      wire::ReplicaStatus* out = status->add_replica_status();
      out->set_replica(replica);
      out->set_clock(progress_.ClockOf(replica));
      out->set_dropped(progress_.DroppedOf(replica));
      out->set_worker(worker.index());
      const bool training = phase() == JobPhase::kRunning && out->clock() < plan_.total_steps;
      if (training) {
        out->set_images_per_second(rates_.PerSecond(replica) * plan_.job.train.batch_size);
      }
    }
  }
}

void JobState::FillStaleness(wire::JobStatus* status) const {
  const TransferCounters counters = counters_.Transfers();
  status->set_staleness_mean(counters.StalenessMean());
  status->set_staleness_max(counters.staleness_max);
  status->set_staleness_bound(ConsistencyOf(plan_.job.train).StalenessBoundVersions());
  status->set_clock_lead(counters.clock_lead_max);
}

void JobState::FillEpochsAndEvents(wire::JobStatus* status) const {
  for (const EpochHistory& epoch : progress_.FinishedEpochs()) {
    wire::EpochResult* result = status->add_epochs_done();
    result->set_epoch(epoch.epoch);
    result->set_train_loss(epoch.train_loss);
    result->set_train_accuracy(epoch.train_accuracy);
    result->set_evaluated(epoch.test.has_value());
    if (epoch.test.has_value()) {
      result->set_test_loss(epoch.test->loss);
      result->set_test_accuracy(epoch.test->accuracy);
    }
  }
  for (const JobEvent& event : log_.events()) {
    wire::Event* out = status->add_events();
    out->set_what(event.what);
    out->set_who(event.who);
    out->set_message(event.message);
    out->set_when(FormatEventTime(event.when));
    out->set_pid(event.pid);
  }
}

void JobState::FillNode(const Node& node, absl::Time now, wire::NodeStatus* status) const {
  status->set_name(node.Name());
  status->set_address(node.introduction.address);
  status->set_host(node.introduction.host);
  status->set_pid(node.introduction.pid);
  status->set_alive(node.alive());
  status->set_lease_age_ms(absl::ToInt64Milliseconds(now - node.last_seen));
  const wire::WorkerEntry* const worker = FindWorker(planner_.map(), node.id);
  if (worker != nullptr) {
    *status->mutable_replicas() = worker->replicas();
    status->set_idle(worker->replicas().empty());
  }
  status->set_draining(node.draining);
  const wire::ServerEntry* const server = FindServer(planner_.map(), node.id);
  if (server == nullptr) return;
  const auto bytes_of = [&](const auto& shards) {
    int64_t bytes = 0;
    for (const ShardId shard : shards) bytes += plan_.layout.shards()[shard].bytes();
    return bytes;
  };
  status->set_shards(server->shards_size());
  status->set_shard_bytes(bytes_of(server->shards()));
  status->set_backups(server->backups_size());
  status->set_backup_bytes(bytes_of(server->backups()));
  status->set_copies(server->copies_size());
}

}  // namespace tessera
