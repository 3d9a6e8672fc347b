// A graph made ready for one batch size, in training or evaluation: primitives, layouts and memory are fixed
// when it is made, so that a step only runs them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/trace/trace_recorder.h"
#include "worker/cpu/arena.h"
#include "worker/cpu/program.h"
#include "worker/nn/executor.h"
#include "worker/nn/graph.h"

namespace tessera::cpu {

// Not thread-safe.
class Plan {
 public:
  // Errors: kInternal or kResourceExhausted, oneDNN's, with the layer's name; kInvalidArgument, a layer whose
  // kind has no op.
  static absl::StatusOr<std::unique_ptr<Plan>> Create(std::shared_ptr<const nn::Graph> graph, int64_t batch,
                                                      bool training, const dnnl::engine& engine);

  int64_t batch() const { return batch_; }
  bool training() const { return training_; }
  size_t arena_bytes() const { return arena_.bytes(); }
  // Forward and backward of each layer are recorded in `trace`.
  void set_trace(TraceTrack trace);

  // Losses are summed over the batch; logits are given in evaluation alone. `batch` has the plan's size and is valid; `key` counts in training.
  // Errors: kOutOfRange, the first layer whose output is not finite; those of `exchange`.
  absl::StatusOr<nn::EvaluationResult> Forward(const nn::Batch& batch, const nn::StepKey& key,
                                               nn::ParameterExchange* exchange);

  // In training, after Forward on the same batch, whose weights are still there.
  absl::Status Backward(nn::ParameterExchange* exchange);

 private:
  Plan(std::shared_ptr<const nn::Graph> graph, int64_t batch, bool training, const dnnl::engine& engine);

  const nn::Node& node(int n) const { return graph_->nodes()[n]; }
  absl::Status Build(const dnnl::engine& engine);
  absl::Status BindWeights(int n, nn::ParameterExchange* exchange);
  absl::Status BindBlock(int n, int block, const std::vector<BlockBinding>& bindings,
                         nn::ParameterExchange* exchange);
  absl::Status RunSteps(int n, absl::Span<const Step> steps);
  absl::Status BackwardNode(int n, nn::ParameterExchange* exchange);
  absl::Status NameNotFinite();
  TraceArgs TraceArgsOf(int n) const;

  const std::shared_ptr<const nn::Graph> graph_;
  const int64_t batch_;
  const bool training_;
  std::vector<bool> needs_gradient_;   // by node
  std::vector<NodeProgram> programs_;  // by node
  std::vector<std::vector<dnnl::memory>> inputs_;  // by input of the batch: every memory over it
  Arena arena_;
  std::vector<bool> finite_weights_;  // by node, in this step
  Run run_;
  TraceTrack trace_;
  std::vector<int32_t> trace_names_;  // by node; empty without a trace
};

}  // namespace tessera::cpu
