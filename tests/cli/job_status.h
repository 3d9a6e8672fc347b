// A status as a coordinator gives it in the middle of a job.
#pragma once

#include "proto/coordinator_service.pb.h"

namespace tessera::cli {

inline void AddNode(wire::JobStatus* status, const char* name, bool alive = true) {
  wire::NodeStatus* node = status->add_nodes();
  node->set_name(name);
  node->set_alive(alive);
  node->set_pid(100 + status->nodes_size());
  node->set_host("host");
}

// Epoch 3 of 5, 100 steps each, after 40 s.
inline wire::JobStatus RunningStatus() {
  wire::JobStatus status;
  status.set_job("fashion");
  status.set_phase(wire::RUNNING);
  status.set_mode("sync");
  status.set_replicas(4);
  status.set_batch_size(64);
  status.set_step(250);
  status.set_total_steps(500);
  status.set_steps_per_epoch(100);
  status.set_epochs(5);
  status.set_train_loss(0.3121);
  status.set_images_per_second(5012);
  status.set_elapsed_seconds(40);
  for (int epoch : {1, 2}) {
    wire::EpochResult* result = status.add_epochs_done();
    result->set_epoch(epoch);
    result->set_train_loss(0.5);
    result->set_test_accuracy(0.8931);
    result->set_test_loss(0.29);
    result->set_evaluated(true);
  }
  for (const char* name : {"worker 1", "server 0", "worker 0"}) AddNode(&status, name);
  return status;
}

inline void AddReplica(wire::JobStatus* status, int worker, int64_t clock, double rate, int64_t dropped = 0) {
  wire::ReplicaStatus* replica = status->add_replica_status();
  replica->set_replica(status->replica_status_size() - 1);
  replica->set_worker(worker);
  replica->set_clock(clock);
  replica->set_images_per_second(rate);
  replica->set_dropped(dropped);
}

// RunningStatus of a job whose replicas do not keep step; the last of them has done its part.
inline wire::JobStatus SspStatus() {
  wire::JobStatus status = RunningStatus();
  status.set_mode("ssp");
  status.set_staleness_mean(2.13);
  status.set_staleness_max(9);
  status.set_staleness_bound(21);
  status.set_clock_lead(3);
  AddReplica(&status, 0, 253, 1204);
  AddReplica(&status, 0, 252, 1100);
  AddReplica(&status, 1, 250, 301.4);
  AddReplica(&status, 1, 500, 0);
  return status;
}

}  // namespace tessera::cli
