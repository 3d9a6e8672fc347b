// What a worker does: runs its replicas' minibatches, pushes gradients layer by layer, waits for weights
// layer by layer, and evaluates its share at every epoch's end. Knows no transport, no coordinator and no
// YAML.
//
// Replicas of one group go through a round together and share its weights. A worker that runs replicas of
// several groups always takes the group with the lowest clock whose weights have begun to come. In sync there
// is one group.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/mutex.h"
#include "common/trace/trace_recorder.h"
#include "common/types.h"
#include "worker/data/batch_loader.h"
#include "worker/data/batch_prefetcher.h"
#include "worker/evaluator.h"
#include "worker/nn/executor.h"
#include "worker/parameter_client.h"
#include "worker/pulled_weights.h"
#include "worker/step_exchange.h"

namespace tessera {

struct TrainerOptions {
  uint64_t seed = 0;
  int32_t replicas = 1;  // of the job
  int32_t group = 1;     // replicas whose gradients make one update; divides `replicas`
  ReplicaRange local;    // run here
  Clock steps_per_epoch = 1;
  int64_t epochs = 1;
  uint32_t test_samples = 0;  // 0: no evaluation
  // A round may be closed without our push (drop_stragglers): then go on with the servers' round. Each step
  // waits for all answers to the one before.
  bool may_be_dropped = false;
  double clip_norm = 0;  // of a replica's gradient; 0: not clipped
  // By replica of `local`, what the servers say that it pushes next (ParameterClient::NextClock); empty: all
  // are new. A group goes on with the smallest of its replicas': what some shard had been pushed already is
  // pushed again, and answered without being applied again.
  std::vector<ClockRange> next_clocks;
  // Others still run the replicas of `local`, up to where we go on with them: nothing is told of them before
  // that. One group that drops nobody.
  bool handed_over = false;
  absl::Duration patience = absl::Minutes(10);  // for one block's weights; may be infinite
};

// Of each group of the job the replicas that `local` has: what PulledWeights and TrainerOptions share.
std::vector<ReplicaRange> LocalGroups(ReplicaRange local, int32_t group);

// How PulledWeights keeps them: in place where replicas read exact versions, since the servers then keep the
// version that a step works with until that step is over, held or not. In the other modes a held version
// would be one more.
PulledWeights::Keep KeepOf(const TrainerOptions& options);

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
  EpochTotals last;       // the epoch before
  Clock first_clock = 0;  // what it went on with here
  int64_t dropped = 0;    // of `clock`: jumped over, or dropped by a shard
};
struct TrainerProgress {
  std::vector<ReplicaTotals> replicas;
  double training_seconds = 0;  // in steps and waiting for them, evaluation not counted
  std::set<Clock> recomputed;   // of which a minibatch was begun that some shard had been pushed already; the
                                // newest kMostRecomputed
};

// Of each of LocalGroups(options.local, options.group) the minibatch that it goes on with.
std::vector<Clock> StartClocks(const TrainerOptions& options);

// What the trainer works with; what it points to outlives it.
struct TrainerParts {
  std::shared_ptr<const nn::Graph> graph;
  nn::Executor* executor = nullptr;
  BatchPrefetcher* train = nullptr;
  BatchLoader* test = nullptr;  // null without a test set
  ParameterClient* client = nullptr;
  PulledWeights* weights = nullptr;                         // of LocalGroups(options.local, options.group)
  std::shared_ptr<TensorMemory> gradient_memory = nullptr;  // see StepExchange
  TraceTrack trace = {};                                    // of the thread that calls Run
};

// Run is called once, from one thread; progress() from any.
class Trainer {
 public:
  // Called at every epoch's end with this worker's chunks of the evaluation at `clock`, in order; maybe none.
  // With one group that drops nobody they are measured at exactly version `clock`; otherwise at the newest
  // weights that have come here, and after the last epoch at the final ones. Errors end the run.
  using EvaluationSink = std::function<absl::Status(Clock clock, absl::Span<const EvaluationChunk> chunks)>;

  Trainer(TrainerOptions options, TrainerParts parts, EvaluationSink sink);

  // Trains all epochs from where the servers are; returns when every push of every replica of the job has
  // been applied, and ours have been acknowledged. Errors: a loss, activation or gradient that is not finite
  // (kOutOfRange, names layer and step); kInternal, a clock that the job does not have; those of the client
  // and the sink.
  //
  // Who ran these replicas before may have died before it told its evaluation of the epoch before. So that is
  // done again where it can be: with exact versions at the epoch's very end (a replica that is further had
  // told it, or its epoch's end would have waited), else always, on the newest weights. The first report
  // counts.
  // After EndAt it returns OK as soon as all minibatches before that are acknowledged; then hands_over().
  absl::Status Run();

  // Others run our replicas from minibatch `clock` on, evaluation at `clock` included; kNever: nobody does.
  // One group that drops nobody, and nobody has weights for `clock` before this is called. From any thread.
  static constexpr Clock kNever = std::numeric_limits<Clock>::max();
  void EndAt(Clock clock) { end_ = clock; }
  // Run has ended since others go on.
  bool hands_over() const { return hands_over_; }

  TrainerProgress progress() const;

 private:
  Clock total_steps() const { return options_.epochs * options_.steps_per_epoch; }
  // The weights for a minibatch are one version on all shards.
  bool exact() const { return options_.group == options_.replicas && !options_.may_be_dropped; }
  absl::Status CheckStart() const;
  // The minibatch that is not run here any more.
  Clock end() const { return std::min(end_.load(), total_steps()); }
  absl::Status RunToTheEnd();
  // Waits until all before it is acknowledged.
  absl::Status HandOver();
  // Progress is told of all replicas from now on.
  void ShowReplicas();
  // How many epochs need no evaluation any more.
  int64_t EvaluatedBefore() const;
  Clock SlowestClock() const;
  // The group to run next; some group has not finished.
  absl::StatusOr<int> NextGroup();
  // One minibatch of each of the group's replicas.
  absl::Status RunRound(int group);
  absl::Status RunStep(int group, ReplicaId replica, Clock clock);
  nn::Batch TakeBatch(int group, BatchKey present);
  // What follows minibatch `present` of `group` if all weights come in time.
  std::vector<BatchKey> Upcoming(int group, BatchKey present) const;
  // The round after `clock`: the next one, or where the servers are when they have dropped ours.
  absl::StatusOr<Clock> ClockAfter(int group, Clock clock);
  // Goes on with `clock`, where the servers are: asks for its weights and waits until all have come.
  absl::Status Jump(int group, Clock clock);
  absl::Status AwaitWeights(int group, Clock clock, absl::Time deadline);
  // Evaluates at the end of each epoch that every group of ours has run by now.
  absl::Status EvaluateFinishedEpochs();
  // Waits until the weights for the group's clock have come: then every push before it has been applied.
  absl::Status AwaitAcknowledgement(int group);
  absl::Status Evaluate(int group, Clock clock);
  void CountBegun(ReplicaId replica, Clock clock);
  void Record(ReplicaId replica, Clock clock, const nn::StepResult& result);
  void RecordClock(int group, Clock clock, int64_t dropped);
  void AddTrainingTime(absl::Time since);

  const TrainerOptions options_;
  const TrainerParts parts_;
  const EvaluationSink sink_;
  StepExchange exchange_;
  std::vector<Clock> clocks_;  // by group of ours: the minibatch that it runs next
  int last_group_ = 0;         // that ran
  int64_t evaluated_epochs_ = 0;
  bool hands_over_ = false;
  std::atomic<Clock> end_{kNever};

  mutable Mutex mutex_;
  TrainerProgress progress_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace tessera
