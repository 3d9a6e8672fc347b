// A whole cluster in one process: the same stores, services, clients and trainers as the daemons', over the
// in-process transport or, for a comparison, over gRPC. Not a second trainer: only placement and threads are
// done here.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/exchange.h"
#include "common/safetensors.h"
#include "coordinator/placement.h"
#include "job/job_plan.h"
#include "worker/evaluator.h"
#include "worker/nn/executor.h"

namespace tessera {

enum class ClusterTransport { kInProcess, kGrpc, kGrpcSharedMemory };

struct InProcessOptions {
  ClusterTransport transport = ClusterTransport::kInProcess;
  int servers = 1;
  int server_threads = 1;  // that serve a server's streams; over gRPC only
  int workers = 1;
  uint64_t shuffle_seed = 0;  // 0: messages arrive in the order sent; in process only
  // After which a worker asks again; long, so that a slow machine changes no count of bytes.
  absl::Duration first_wait = absl::Seconds(60);
  // Wrap what a worker works with, to watch it or to break it; empty: as it is.
  std::function<std::unique_ptr<nn::Executor>(std::unique_ptr<nn::Executor>)> wrap_executor;
  std::function<std::shared_ptr<ExchangeSender>(std::shared_ptr<ExchangeSender>)> wrap_sender;
  std::function<std::shared_ptr<ExchangeReceiver>(std::shared_ptr<ExchangeReceiver>)> wrap_receiver;
  // Each shard is on so many servers besides its primary; in process only. What wraps senders and receivers
  // wraps the servers' own too.
  int backups = 0;
  // Called once before training with what kills a server, at any time and from any thread: its shards go to
  // their first backups, and everybody hears of it. At most `backups` may die.
  std::function<void(std::function<void(int server)> kill)> give_kill;
  // So many workers there may be; 0: `workers`, always.
  int most_workers = 0;
  // Called once before training with what has so many workers run the replicas from now on, handed over as
  // the coordinator does it, in sync, at any time and from any thread. False: the last handover is not over.
  std::function<void(std::function<bool(int workers)> hand_over)> give_hand_over;
  // A worker whose session ends with kAborted begins another, as an heir does: with nothing but its device.
  bool begin_again = false;
};

struct InProcessResult {
  NamedTensors tensors;
  std::map<Clock, EvaluationTotals> evaluations;
  int64_t pushed_bytes = 0;
  int64_t pulled_bytes = 0;
  int64_t shared_memory_bytes = 0;    // of both, as the workers count them
  int64_t shared_memory_refused = 0;  // tensors that found no room in their process's segment
  int64_t installed_bytes = 0;        // copied into place by workers; the rest was read where it lay
  int64_t accumulated_bytes = 0;      // copied into an accumulator by servers
  int64_t replica_pushes = 0;         // applied, over all shards
  int64_t staleness_sum = 0;          // of them, in versions
  int64_t staleness_max = 0;
  int64_t clock_lead_max = 0;
  // Over all shards and replicas: minibatches of one replica that one shard applied.
  int64_t applied_min = 0;
  int64_t applied_max = 0;
  int64_t dropped = 0;           // minibatches without which rounds were closed, over all shards
  int64_t recomputed_steps = 0;  // summed over sessions: clocks of which one began a minibatch again
  int64_t retries = 0;
  std::map<ReplicaId, int64_t> dropped_by_replica;  // as its trainer counts them
};

// Runs `plan` to its end. Errors: the first that a trainer met.
absl::StatusOr<InProcessResult> RunInProcess(const JobPlan& plan, const JobData& data,
                                             const InProcessOptions& options);

}  // namespace tessera
