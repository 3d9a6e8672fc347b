// A small job and the messages of its nodes, for the coordinator's tests.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/protocol.h"
#include "job/job_plan.h"
#include "proto/coordinator_service.pb.h"
#include "tests/job/fake_dataset.h"

namespace tessera {

// Two replicas of 5 images: 4 minibatches an epoch, two epochs; 20 test images; a linear layer in two shards.
inline JobPlan MakeTestPlan(int32_t servers, int32_t workers,
                            const ConsistencySpec& consistency = {.group = 2}) {
  JobSpec job;
  job.name = "small";
  job.model.layers = {{.name = "flat", .type = "flatten"},
                      {.name = "fc", .type = "linear", .options = Options({{"out_features", "3"}})}};
  job.data.train.name = "idx";
  job.data.test = NamedOptions{.name = "idx"};
  job.train.replicas = 2;
  job.train.batch_size = 5;
  job.train.epochs = 2;
  job.train.consistency = consistency;
  job.train.optimizer = {.name = "sgd", .options = Options({{"lr", "0.1"}})};
  job.train.schedule.name = "constant";
  job.cluster.servers = servers;
  job.cluster.workers = workers;
  job.cluster.shard_bytes = 32;
  job.cluster.lease = absl::Seconds(3);
  return *MakeJobPlan(job, {MakeFakeDataset(40), MakeFakeDataset(20)});
}

inline wire::RegisterRequest Introduction(wire::NodeKind kind, int number) {
  wire::RegisterRequest request;
  request.set_protocol_version(kProtocolVersion);
  request.set_kind(kind);
  if (kind == wire::SERVER) request.set_address(absl::StrCat("127.0.0.1:", 4000 + number));
  request.set_host("here");
  request.set_pid(100 + number);
  request.set_incarnation(absl::StrCat("incarnation-", number));
  request.set_fingerprint("cpu avx2");
  return request;
}

// Of the node that joined as `node_id`-th, under the number `node_id`.
inline wire::HeartbeatRequest HeartbeatOf(int32_t node_id) {
  wire::HeartbeatRequest request;
  request.set_node_id(node_id);
  request.set_incarnation(absl::StrCat("incarnation-", node_id));
  return request;
}

inline void AddReplica(wire::HeartbeatRequest* request, int32_t replica, int64_t clock) {
  wire::ReplicaProgress* progress = request->add_replicas();
  progress->set_replica(replica);
  progress->set_clock(clock);
  progress->set_last_epoch(-1);
}

inline wire::ReportEvaluationRequest EvaluationOf(int32_t node_id, int64_t clock, int32_t chunk,
                                                  int64_t samples, int64_t correct) {
  wire::ReportEvaluationRequest request;
  request.set_node_id(node_id);
  request.set_incarnation(absl::StrCat("incarnation-", node_id));
  request.set_clock(clock);
  wire::EvaluationChunk* result = request.add_chunks();
  result->set_chunk(chunk);
  result->set_samples(samples);
  result->set_correct(correct);
  return request;
}

}  // namespace tessera
