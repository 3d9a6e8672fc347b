// What a worker does: runs its replicas' minibatches, pushes gradients layer by layer, waits for weights
// layer by layer, and evaluates its share at every epoch's end. Knows no transport, no coordinator and no
// YAML.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "common/types.h"
#include "worker/data/batch_loader.h"
#include "worker/data/sampler.h"
#include "worker/evaluator.h"
#include "worker/nn/executor.h"
#include "worker/parameter_client.h"
#include "worker/pulled_weights.h"

namespace tessera {

struct TrainerOptions {
  uint64_t seed = 0;
  int32_t replicas = 1;  // of the job
  ReplicaRange local;    // run here
  Clock steps_per_epoch = 1;
  int64_t epochs = 1;
  uint32_t test_samples = 0;  // 0: no evaluation
  absl::Duration patience =
      absl::Minutes(10);  // for one block's weights; deaths are noticed much sooner, by lease
};

// Totals of a replica, for progress reports.
struct EpochTotals {
  int64_t epoch = -1;   // 0-based; -1: none
  double loss_sum = 0;  // of minibatch means
  int64_t minibatches = 0;
  int64_t correct = 0;
};
struct ReplicaTotals {
  ReplicaId replica = 0;
  Clock clock = 0;  // minibatches fully pushed: acknowledged by the weights that answered them
  EpochTotals current;
  EpochTotals last;  // the epoch before
};
struct TrainerProgress {
  std::vector<ReplicaTotals> replicas;
  double training_seconds = 0;  // in steps, evaluation not counted
};

// What the trainer works with; all outlive it.
struct TrainerParts {
  std::shared_ptr<const nn::Graph> graph;
  nn::Executor* executor = nullptr;
  Sampler* sampler = nullptr;
  BatchLoader* train = nullptr;
  BatchLoader* test = nullptr;  // null without a test set
  ParameterClient* client = nullptr;
  PulledWeights* weights = nullptr;
};

// Run is called once, from one thread; progress() from any.
class Trainer {
 public:
  // Called at every epoch's end with this worker's chunks of the evaluation at `clock`, in order; maybe none.
  // Errors end the run.
  using EvaluationSink = std::function<absl::Status(Clock clock, absl::Span<const EvaluationChunk> chunks)>;

  Trainer(TrainerOptions options, TrainerParts parts, EvaluationSink sink);
  ~Trainer();

  // Trains all epochs; returns when every push has been acknowledged. Errors: a loss, activation or gradient
  // that is not finite (kOutOfRange, names layer and step); those of the client and the sink.
  absl::Status Run();

  TrainerProgress progress() const;

 private:
  class StepExchange;
  absl::Status RunStep(ReplicaId replica, Clock clock);
  // Waits until the weights for `clock` have come: then every push before it is in them.
  absl::Status AwaitAcknowledgement(Clock clock);
  absl::Status Evaluate(Clock clock);
  void Record(ReplicaId replica, Clock clock, const nn::StepResult& result, absl::Duration duration);

  const TrainerOptions options_;
  const TrainerParts parts_;
  const EvaluationSink sink_;
  std::unique_ptr<StepExchange> exchange_;

  mutable Mutex mutex_;
  TrainerProgress progress_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
