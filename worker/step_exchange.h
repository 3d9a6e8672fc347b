// Binds an executor's blocks to the wire, for one minibatch of one replica at a time: weights are waited for,
// gradients checked, clipped if the job asks for it, summed over the group's local replicas and pushed.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "common/tensor_buffer.h"
#include "common/trace/trace_recorder.h"
#include "worker/gradient_clipper.h"
#include "worker/local_reducer.h"
#include "worker/nn/executor.h"
#include "worker/parameter_client.h"
#include "worker/pulled_weights.h"

namespace tessera {

struct StepExchangeOptions {
  int32_t group = 1;      // replicas of a group
  Clock total_steps = 0;  // the weights that answer the last push are the settled ones
  double clip_norm = 0;   // 0: not clipped
  absl::Duration patience;
};

// Not thread-safe.
class StepExchange : public nn::ParameterExchange {
 public:
  // `client` and `weights` outlive it. Gradients lie in `memory` while it has room (GradientBytes is enough);
  // null: on the heap. Waits and pushes are recorded in `trace`.
  StepExchange(const StepExchangeOptions& options, const nn::Graph& graph, ParameterClient* client,
               PulledWeights* weights, std::shared_ptr<TensorMemory> memory, TraceTrack trace = {});

  // How many bytes the gradients of `blocks` need at once, where the replicas of `local` (LocalGroups, at
  // least one) of groups of `group` run; in asynchronous modes with many groups, but for rare moments.
  static size_t GradientBytes(const std::vector<ParameterBlock>& blocks, absl::Span<const ReplicaRange> local,
                              int32_t group);

  // What follows is minibatch `clock` of `replica`, which is of `group` (an index into
  // PulledWeights::groups()).
  void Begin(int group, ReplicaId replica, Clock clock);
  // The step has computed all its gradients: none waits for another any more.
  void End() { client_->Flush(); }

  absl::StatusOr<absl::Span<const float>> Weights(int block) override;
  absl::Span<float> Gradient(int block) override;
  // Errors: kOutOfRange, a gradient that is not finite, by layer.
  absl::Status GradientReady(int block) override;

 private:
  // What the replicas of a group that run here need.
  struct Group {
    ReplicaId first = 0;                 // of the whole group
    ReplicaRange last_node;              // counted from `first`: its push is answered with the next weights
    std::vector<LocalReducer> reducers;  // by block
  };

  void Push(int block, std::shared_ptr<TensorBuffer> gradient);
  absl::StatusOr<absl::Span<const float>> AwaitWeights(int block);
  TraceArgs TraceArgsOf(int block) const;

  const StepExchangeOptions options_;
  const std::vector<ParameterBlock>& blocks_;
  ParameterClient* const client_;
  PulledWeights* const weights_;
  BufferPool pool_;
  std::vector<std::shared_ptr<TensorBuffer>> gradients_;  // being written, by block
  std::vector<Group> groups_;
  std::optional<GradientClipper> clipper_;
  int group_ = 0;
  ReplicaId replica_ = 0;
  Clock clock_ = 0;
  const TraceTrack trace_;
  std::vector<int32_t> trace_names_;  // by block; empty without a trace
};

}  // namespace tessera
