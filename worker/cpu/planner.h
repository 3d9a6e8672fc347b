// Plans one pass over a graph: which tensors there are, in which layout and how long they live, and the steps
// that compute them. Ops call it for the node whose turn it is.
//
// A tensor that a node makes lies in the layout that the node chose, and its gradient lies as the tensor.
// Whoever wants it otherwise asks for a reorder, which is planned too. Lifetimes come from the steps: a
// tensor lives from the first to the last step that names it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "worker/cpu/arena.h"
#include "worker/cpu/layout.h"
#include "worker/cpu/program.h"
#include "worker/cpu/tensor.h"
#include "worker/nn/backward_plan.h"
#include "worker/nn/graph.h"

namespace tessera::cpu {

// How the relu behind a layer is computed by that layer.
enum class ReluFusion {
  kNone,     // not at all
  kForward,  // the layer's output is the relu's; backward is separate
  kBoth,     // backward too: the layer takes the gradient of the relu's output
};

// Not thread-safe. Functions that make or reorder tensors let oneDNN's exceptions through.
class Planner {
 public:
  using Arguments = std::vector<std::pair<int, Tensor>>;  // DNNL_ARG_... and what it names

  // `graph` must outlive the planner.
  Planner(const nn::Graph& graph, int64_t batch, bool training, const dnnl::engine& engine);

  // --- For the plan: whose turn it is; then what was planned.
  void BeginForward(int node);
  void BeginBackward(int node);
  bool NeedsGradient(int node) const { return gradient_plan_.NeedsGradient(node); }
  std::vector<NodeProgram> TakePrograms() { return std::move(programs_); }
  std::vector<std::vector<dnnl::memory>> TakeInputs() { return std::move(input_memories_); }
  Arena TakeArena() { return std::move(arena_); }

  // --- For ops: the node.
  const nn::Node& node() const { return graph_.nodes()[node_]; }
  int64_t batch() const { return batch_; }
  bool training() const { return training_; }
  const dnnl::engine& engine() const { return engine_; }
  dnnl::prop_kind forward_kind() const;
  // Whether the first input comes from the batch: there is no gradient below.
  bool ReadsImages() const { return nn::Graph::IsInput(node().inputs[0]); }
  Dims InputDims(size_t i) const { return WithBatch(batch_, graph_.InputShape(node(), i)); }
  Dims OutputDims() const { return WithBatch(batch_, node().output); }

  // --- Values.
  // Input `i` as its layer made it; those of the batch are row-major.
  Tensor Input(size_t i) const;
  // Input `i` in `layout`, reordered where it is not.
  Tensor InputAs(size_t i, const Layout& layout);
  // The node's output, to be made.
  Tensor NewOutput(const Layout& layout);
  // The node's output is a tensor that exists already.
  void SetOutput(const Tensor& output);
  Tensor Output() const { return *values_[node_]; }
  // Takes over the relu behind this node: when it returns true, the node must apply it. False when there is
  // none, or when somebody else reads this node's output.
  bool FuseRelu(ReluFusion how);
  // For the relu: how the layer before it took it over.
  ReluFusion fused_relu() const { return relu_fusion_[node_]; }

  // --- Gradients, in backward.
  // Of the node's output.
  Tensor OutputGradient() const { return *gradients_[node_]; }
  bool NeedsInputGradient(size_t i) const;
  // Where a step may put the gradient of input `i`, made in `layout`; afterwards DeliverInputGradient adds,
  // reorders or leaves it, as the graph asks.
  Tensor NewInputGradient(size_t i, const Layout& layout);
  void DeliverInputGradient(size_t i, const Tensor& gradient);
  // The gradient of input `i` is `gradient` itself, often without a copy. Nothing when it is not needed.
  void PassInputGradient(size_t i, const Tensor& gradient);

  // --- Parameters: `index` is the parameter's place in its block; a layout that is longer than the parameter
  // covers those after it too.
  Tensor Weights(size_t index, const Layout& layout);
  Tensor WeightGradient(size_t index, const Layout& layout);
  Tensor Statistics(size_t index, const Layout& layout);
  Tensor StatisticGradient(size_t index, const Layout& layout);
  // All steps so far make the complete gradient of the weights; it may leave while the next ones run. Called
  // once by each op that has weights.
  void WeightGradientDone() { program().steps_to_weight_gradient = program().backward.size(); }

  // --- Tensors and steps of the op's own.
  Tensor NewTensor(const Layout& layout);
  // The same memory, read in another layout.
  Tensor View(const Tensor& tensor, const Layout& layout);
  // `tensor` in `layout`: itself, or a reordered copy.
  Tensor InLayout(const Tensor& tensor, const Layout& layout);
  void Reorder(const Tensor& from, const Tensor& to, bool add = false);
  // Runs the primitive of `descriptor`; a scratchpad is added. The attribute must be one of Attributes().
  void Emit(const dnnl::primitive_desc_base& descriptor, Arguments arguments);
  // Runs `step`, which reads and writes `tensors`.
  void Emit(Step step, const std::vector<Tensor>& tensors);
  // With the scratchpad kept by us, and a relu behind the operation where asked.
  static dnnl::primitive_attr Attributes(bool relu = false);

 private:
  NodeProgram& program() { return programs_[node_]; }
  void AddStep(Step step);
  void Use(const Tensor& tensor);
  Tensor MakeTensor(int buffer, const Layout& layout);
  Tensor Bind(std::vector<BlockBinding>& bindings, int block, size_t index, const Layout& layout);
  bool MayShareGradient(int input) const;
  bool AddsToGradient(int node, int input) const;

  const nn::Graph& graph_;
  const int64_t batch_;
  const bool training_;
  const dnnl::engine engine_;
  const nn::BackwardPlan gradient_plan_;

  int node_ = 0;
  bool backward_ = false;
  Arena arena_;
  std::vector<std::vector<dnnl::memory>> input_memories_;  // by input: every memory over it
  std::vector<Tensor> inputs_;                             // of the batch
  std::vector<std::optional<Tensor>> values_;              // by node
  std::vector<std::optional<Tensor>> gradients_;           // by node; none before its first writer's turn
  std::vector<ReluFusion> relu_fusion_;                    // by node
  std::vector<NodeProgram> programs_;                      // by node
};

}  // namespace tessera::cpu
