// A graph run by the reference ops, in float (the reference executor) or double (finite differences).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "worker/nn/backward_plan.h"
#include "worker/nn/executor.h"
#include "worker/nn/graph.h"
#include "worker/reference/op.h"

namespace tessera::reference {

// nn::ParameterExchange in T; the same contract.
template <typename T>
class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual absl::StatusOr<absl::Span<const T>> Weights(int block) = 0;
  virtual absl::Span<T> Gradient(int block) = 0;
  virtual absl::Status GradientReady(int block) = 0;
};

// Keeps nothing between calls. Thread-safe, but for the exchange.
template <typename T>
class Network {
 public:
  // Errors: kInvalidArgument, a layer whose kind has no op.
  static absl::StatusOr<std::unique_ptr<Network>> Create(std::shared_ptr<const nn::Graph> graph);

  // As nn::Executor's. `inputs` and `labels` [N] fit the graph.
  absl::StatusOr<nn::StepResult> Step(const std::vector<absl::Span<const T>>& inputs,
                                      absl::Span<const int32_t> labels, const nn::StepKey& key,
                                      Exchange<T>* exchange) const;
  absl::StatusOr<nn::EvaluationResult> Evaluate(const std::vector<absl::Span<const T>>& inputs,
                                                absl::Span<const int32_t> labels,
                                                Exchange<T>* exchange) const;

 private:
  struct Pass;  // what one call computes

  explicit Network(std::shared_ptr<const nn::Graph> graph);
  absl::Status Forward(Exchange<T>* exchange, Pass& pass) const;
  absl::Status Backward(Exchange<T>* exchange, Pass& pass) const;
  absl::Status BackwardNode(int index, Exchange<T>* exchange, Pass& pass) const;
  absl::Status CheckFinite(const Pass& pass) const;
  std::vector<absl::Span<const T>> Inputs(const nn::Node& node, const Pass& pass) const;
  int64_t BlockLength(int block) const;
  int LogitsNode() const { return graph_->nodes().back().inputs[0]; }

  const std::shared_ptr<const nn::Graph> graph_;
  const nn::BackwardPlan plan_;
  std::vector<std::unique_ptr<Op<T>>> ops_;  // one per node; constant after Create
};

}  // namespace tessera::reference
