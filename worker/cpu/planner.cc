#include "worker/cpu/planner.h"

#include <algorithm>

#include "common/check.h"

namespace tessera::cpu {
namespace {

using nn::GradientWrite;

// A primitive with its arguments in the form that executes without an allocation.
class PrimitiveStep {
 public:
  PrimitiveStep(const dnnl::primitive_desc_base& descriptor, const Planner::Arguments& arguments)
      : primitive_(descriptor.get()) {
    for (const auto& [name, tensor] : arguments) {
      memories_.push_back(tensor.memory);
      arguments_.push_back({name, tensor.memory.get()});
    }
  }

  void operator()(Run& run) const {
    dnnl::error::wrap_c_api(dnnl_primitive_execute(primitive_.get(), run.stream.get(),
                                                   static_cast<int>(arguments_.size()), arguments_.data()),
                            "could not execute a primitive");
  }

 private:
  dnnl::primitive primitive_;
  std::vector<dnnl::memory> memories_;  // keeps alive what arguments_ points to
  std::vector<dnnl_exec_arg_t> arguments_;
};

}  // namespace

Planner::Planner(const nn::Graph& graph, int64_t batch, bool training, const dnnl::engine& engine)
    : graph_(graph),
      batch_(batch),
      training_(training),
      engine_(engine),
      gradient_plan_(graph),
      values_(graph.nodes().size()),
      gradients_(graph.nodes().size()),
      relu_fusion_(graph.nodes().size(), ReluFusion::kNone),
      programs_(graph.nodes().size()) {
  input_memories_.resize(graph.inputs().size());
  for (const nn::InputSpec& input : graph.inputs()) {
    const int buffer = Tensor::kFirstInput - static_cast<int>(inputs_.size());
    inputs_.push_back(MakeTensor(buffer, RowMajor(WithBatch(batch, input.shape))));
  }
}

void Planner::BeginForward(int node) {
  node_ = node;
  backward_ = false;
}

void Planner::BeginBackward(int node) {
  node_ = node;
  backward_ = true;
}

dnnl::prop_kind Planner::forward_kind() const {
  return training_ ? dnnl::prop_kind::forward_training : dnnl::prop_kind::forward_inference;
}

Tensor Planner::Input(size_t i) const {
  const int input = node().inputs[i];
  return nn::Graph::IsInput(input) ? inputs_[nn::Graph::InputIndex(input)] : *values_[input];
}

Tensor Planner::InputAs(size_t i, const Layout& layout) { return InLayout(Input(i), layout); }

Tensor Planner::NewOutput(const Layout& layout) {
  SetOutput(NewTensor(layout));
  return Output();
}

void Planner::SetOutput(const Tensor& output) {
  Use(output);
  values_[node_] = output;
  program().output = output;
}

bool Planner::FuseRelu(ReluFusion how) {
  const int reader = gradient_plan_.LastUse(node_);
  if (gradient_plan_.Uses(node_) != 1 || graph_.nodes()[reader].layer->kind() != "relu") return false;
  relu_fusion_[reader] = how;
  return true;
}

bool Planner::NeedsInputGradient(size_t i) const {
  return gradient_plan_.InputGradient(node_, i) != GradientWrite::kSkip;
}

Tensor Planner::NewInputGradient(size_t i, const Layout& layout) {
  const Layout wanted = Input(i).layout();
  const bool direct = gradient_plan_.InputGradient(node_, i) == GradientWrite::kStore;
  if (!direct || !SamePlaces(layout, wanted)) return NewTensor(layout);
  gradients_[node().inputs[i]] = NewTensor(wanted);
  return *gradients_[node().inputs[i]];
}

void Planner::DeliverInputGradient(size_t i, const Tensor& gradient) {
  if (!NeedsInputGradient(i)) return;
  std::optional<Tensor>& target = gradients_[node().inputs[i]];
  const bool add = gradient_plan_.InputGradient(node_, i) == GradientWrite::kAdd;
  if (!add && target.has_value()) return;  // written in place
  if (!add) target = NewTensor(Input(i).layout());
  Reorder(gradient, *target, add);
}

void Planner::PassInputGradient(size_t i, const Tensor& gradient) {
  const int input = node().inputs[i];
  const bool store = gradient_plan_.InputGradient(node_, i) == GradientWrite::kStore;
  const bool own = gradient.buffer == OutputGradient().buffer;
  if (store && own && SamePlaces(gradient.layout(), Input(i).layout()) && MayShareGradient(input)) {
    gradients_[input] = View(gradient, Input(i).layout());
    return;
  }
  DeliverInputGradient(i, gradient);
}

// The gradient of `input` may lie in the buffer of this node's output gradient when nobody adds to the one
// while somebody still has to read the other. A gradient is read last in its own node's backward, and
// backward goes from the last node down.
bool Planner::MayShareGradient(int input) const {
  std::vector<int> group = {input};
  for (int n = 0; n < static_cast<int>(gradients_.size()); ++n) {
    if (gradients_[n].has_value() && gradients_[n]->buffer == gradients_[node_]->buffer) group.push_back(n);
  }
  for (int changed : group) {
    for (int writer = 0; writer <= node_; ++writer) {
      if (!AddsToGradient(writer, changed)) continue;
      const bool all_read = std::all_of(group.begin(), group.end(),
                                        [&](int other) { return other == changed || other > writer; });
      if (!all_read) return false;
    }
  }
  return true;
}

bool Planner::AddsToGradient(int node, int input) const {
  const std::vector<int>& inputs = graph_.nodes()[node].inputs;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == input && gradient_plan_.InputGradient(node, i) == GradientWrite::kAdd) return true;
  }
  return false;
}

Tensor Planner::Weights(size_t index, const Layout& layout) {
  return Bind(program().weights, node().weight_block, index, layout);
}

Tensor Planner::WeightGradient(size_t index, const Layout& layout) {
  return Bind(program().weight_gradients, node().weight_block, index, layout);
}

Tensor Planner::Statistics(size_t index, const Layout& layout) {
  return Bind(program().statistics, node().statistic_block, index, layout);
}

Tensor Planner::StatisticGradient(size_t index, const Layout& layout) {
  return Bind(program().statistic_gradients, node().statistic_block, index, layout);
}

Tensor Planner::Bind(std::vector<BlockBinding>& bindings, int block, size_t index, const Layout& layout) {
  BlockBinding binding;
  for (size_t p = 0; p < index; ++p) {
    binding.offset += NumElements(graph_.blocks()[block].parameters[p].shape);
  }
  const Tensor tensor = MakeTensor(Tensor::kExternal, layout);
  binding.memory = tensor.memory;
  bindings.push_back(std::move(binding));
  return tensor;
}

Tensor Planner::NewTensor(const Layout& layout) {
  const Time now = backward_ ? 2 * static_cast<int>(programs_.size()) - 1 - node_ : node_;
  return MakeTensor(arena_.Add(layout.get_size(), now), layout);
}

Tensor Planner::View(const Tensor& tensor, const Layout& layout) {
  Use(tensor);
  return MakeTensor(tensor.buffer, layout);
}

Tensor Planner::MakeTensor(int buffer, const Layout& layout) {
  const Tensor tensor{dnnl::memory(layout, engine_, DNNL_MEMORY_NONE), buffer};
  if (buffer <= Tensor::kFirstInput) input_memories_[Tensor::kFirstInput - buffer].push_back(tensor.memory);
  if (buffer >= 0) arena_.Bind(buffer, tensor.memory);
  return tensor;
}

Tensor Planner::InLayout(const Tensor& tensor, const Layout& layout) {
  if (tensor.layout() == layout) return tensor;
  if (SamePlaces(tensor.layout(), layout) && tensor.buffer != Tensor::kExternal) return View(tensor, layout);
  const Tensor copy = NewTensor(layout);
  Reorder(tensor, copy);
  return copy;
}

void Planner::Reorder(const Tensor& from, const Tensor& to, bool add) {
  dnnl::primitive_attr attributes = Attributes();
  if (add) {
    dnnl::post_ops sum;
    sum.append_sum(1.0f);
    attributes.set_post_ops(sum);
  }
  const dnnl::reorder::primitive_desc descriptor(engine_, from.layout(), engine_, to.layout(), attributes);
  Emit(descriptor, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

void Planner::Emit(const dnnl::primitive_desc_base& descriptor, Arguments arguments) {
  const Layout scratchpad = descriptor.query_md(dnnl::query::scratchpad_md);
  if (scratchpad.get_size() > 0) arguments.emplace_back(DNNL_ARG_SCRATCHPAD, NewTensor(scratchpad));
  for (const auto& [name, tensor] : arguments) Use(tensor);
  AddStep(PrimitiveStep(descriptor, arguments));
}

void Planner::Emit(Step step, const std::vector<Tensor>& tensors) {
  for (const Tensor& tensor : tensors) Use(tensor);
  AddStep(std::move(step));
}

dnnl::primitive_attr Planner::Attributes(bool relu) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (relu) {
    dnnl::post_ops after;
    after.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    attributes.set_post_ops(after);
  }
  return attributes;
}

void Planner::AddStep(Step step) {
  (backward_ ? program().backward : program().forward).push_back(std::move(step));
}

void Planner::Use(const Tensor& tensor) {
  if (tensor.buffer < 0) return;
  arena_.Use(tensor.buffer, backward_ ? 2 * static_cast<int>(programs_.size()) - 1 - node_ : node_);
}

}  // namespace tessera::cpu
