#include "worker/reference/network.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/status.h"
#include "worker/nn/batch_check.h"

namespace tessera::reference {
namespace {

// Buffers start as NaN, so that an element which an op forgets to write does not pass for a number.
template <typename T>
std::vector<T> Unwritten(int64_t length) {
  return std::vector<T>(static_cast<size_t>(length), std::numeric_limits<T>::quiet_NaN());
}

}  // namespace

template <typename T>
struct Network<T>::Pass {
  const std::vector<absl::Span<const T>>& inputs;
  absl::Span<const int32_t> labels;
  bool training = true;
  // All by node.
  std::vector<std::vector<T>> outputs;
  std::vector<absl::Span<const T>> weights;
  std::vector<std::vector<T>> statistics;        // of the batch
  std::vector<std::vector<T>> output_gradients;  // empty where none is needed
  nn::StepKey key;

  int64_t batch() const { return static_cast<int64_t>(labels.size()); }
};

template <typename T>
Network<T>::Network(std::shared_ptr<const nn::Graph> graph) : graph_(std::move(graph)), plan_(*graph_) {}

template <typename T>
absl::StatusOr<std::unique_ptr<Network<T>>> Network<T>::Create(std::shared_ptr<const nn::Graph> graph) {
  std::unique_ptr<Network> network(new Network(std::move(graph)));
  for (const nn::Node& node : network->graph_->nodes()) {
    OpNode op_node{node.layer, {}, node.output, node.name};
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      op_node.inputs.push_back(network->graph_->InputShape(node, i));
    }
    TESSERA_ASSIGN_OR_RETURN(
        auto op, OpRegistry<T>::Create("layer of the reference executor", node.layer->kind(), op_node));
    network->ops_.push_back(std::move(op));
  }
  return network;
}

template <typename T>
absl::StatusOr<nn::StepResult> Network<T>::Step(const std::vector<absl::Span<const T>>& inputs,
                                                absl::Span<const int32_t> labels, const nn::StepKey& key,
                                                Exchange<T>* exchange) const {
  Pass pass{inputs, labels, true, {}, {}, {}, {}, key};
  TESSERA_RETURN_IF_ERROR(Forward(exchange, pass));
  TESSERA_RETURN_IF_ERROR(CheckFinite(pass));
  TESSERA_RETURN_IF_ERROR(Backward(exchange, pass));
  const absl::Span<const T> logits = pass.outputs[LogitsNode()];
  return nn::StepResult{static_cast<double>(pass.outputs.back()[0]), nn::CountCorrect(logits, labels)};
}

template <typename T>
absl::StatusOr<nn::EvaluationResult> Network<T>::Evaluate(const std::vector<absl::Span<const T>>& inputs,
                                                          absl::Span<const int32_t> labels,
                                                          Exchange<T>* exchange) const {
  Pass pass{inputs, labels, false, {}, {}, {}, {}, {}};
  TESSERA_RETURN_IF_ERROR(Forward(exchange, pass));
  TESSERA_RETURN_IF_ERROR(CheckFinite(pass));
  const absl::Span<const T> logits = pass.outputs[LogitsNode()];
  const size_t classes = static_cast<size_t>(graph_->classes());
  nn::EvaluationResult result;
  result.correct = nn::CountCorrect(logits, labels);
  result.logits.assign(logits.begin(), logits.end());
  for (size_t n = 0; n < labels.size(); ++n) {
    T loss{};
    ForwardArguments<T> sample;
    sample.batch = 1;
    sample.inputs = {logits.subspan(n * classes, classes)};
    sample.labels = labels.subspan(n, 1);
    sample.output = absl::MakeSpan(&loss, 1);
    ops_.back()->Forward(sample);
    result.loss_sum += loss;
  }
  return result;
}

template <typename T>
absl::Status Network<T>::Forward(Exchange<T>* exchange, Pass& pass) const {
  pass.weights.resize(ops_.size());
  pass.statistics.resize(ops_.size());
  for (size_t n = 0; n < ops_.size(); ++n) {
    const nn::Node& node = graph_->nodes()[n];
    ForwardArguments<T> arguments;
    if (node.weight_block >= 0) {
      TESSERA_ASSIGN_OR_RETURN(pass.weights[n], exchange->Weights(node.weight_block));
    }
    if (node.statistic_block >= 0 && pass.training) {
      pass.statistics[n] = Unwritten<T>(BlockLength(node.statistic_block));
    } else if (node.statistic_block >= 0) {
      TESSERA_ASSIGN_OR_RETURN(arguments.running, exchange->Weights(node.statistic_block));
    }
    arguments.batch = pass.batch();
    arguments.training = pass.training;
    arguments.inputs = Inputs(node, pass);
    arguments.weights = pass.weights[n];
    arguments.labels = pass.labels;
    arguments.statistics = absl::MakeSpan(pass.statistics[n]);
    arguments.key = pass.key;
    // The loss is one number for the whole batch.
    const int64_t rows = node.output.empty() ? 1 : pass.batch();
    pass.outputs.push_back(Unwritten<T>(rows * NumElements(node.output)));
    arguments.output = absl::MakeSpan(pass.outputs.back());
    ops_[n]->Forward(arguments);
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status Network<T>::Backward(Exchange<T>* exchange, Pass& pass) const {
  pass.output_gradients.resize(ops_.size());
  pass.output_gradients.back() = {T{1}};
  for (int n = static_cast<int>(ops_.size()) - 1; n >= 0; --n) {
    if (!plan_.NeedsGradient(n)) continue;
    TESSERA_RETURN_IF_ERROR(BackwardNode(n, exchange, pass));
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status Network<T>::BackwardNode(int index, Exchange<T>* exchange, Pass& pass) const {
  const nn::Node& node = graph_->nodes()[index];
  BackwardArguments<T> arguments;
  arguments.batch = pass.batch();
  arguments.inputs = Inputs(node, pass);
  arguments.weights = pass.weights[index];
  arguments.labels = pass.labels;
  arguments.output_gradient = pass.output_gradients[index];
  arguments.key = pass.key;
  std::vector<std::vector<T>> input_gradients(node.inputs.size());
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (plan_.InputGradient(index, i) != nn::GradientWrite::kSkip) {
      input_gradients[i] = Unwritten<T>(static_cast<int64_t>(arguments.inputs[i].size()));
    }
    arguments.input_gradients.push_back(absl::MakeSpan(input_gradients[i]));
  }
  if (node.weight_block >= 0) arguments.weight_gradients = exchange->Gradient(node.weight_block);
  ops_[index]->Backward(arguments);
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (input_gradients[i].empty()) continue;
    std::vector<T>& sum = pass.output_gradients[node.inputs[i]];
    if (plan_.InputGradient(index, i) == nn::GradientWrite::kStore) {
      sum = std::move(input_gradients[i]);
    } else {
      for (size_t k = 0; k < sum.size(); ++k) sum[k] += input_gradients[i][k];
    }
  }
  if (node.weight_block >= 0) TESSERA_RETURN_IF_ERROR(exchange->GradientReady(node.weight_block));
  if (node.statistic_block < 0) return absl::OkStatus();
  std::copy(pass.statistics[index].begin(), pass.statistics[index].end(),
            exchange->Gradient(node.statistic_block).begin());
  return exchange->GradientReady(node.statistic_block);
}

template <typename T>
absl::Status Network<T>::CheckFinite(const Pass& pass) const {
  if (nn::AllFinite(pass.outputs.back())) return absl::OkStatus();
  for (size_t n = 0; n + 1 < pass.outputs.size(); ++n) {
    if (!nn::AllFinite(pass.outputs[n])) return nn::NotFiniteOutput(graph_->nodes()[n]);
  }
  return nn::NotFiniteLoss();
}

template <typename T>
std::vector<absl::Span<const T>> Network<T>::Inputs(const nn::Node& node, const Pass& pass) const {
  std::vector<absl::Span<const T>> inputs;
  for (int input : node.inputs) {
    inputs.push_back(nn::Graph::IsInput(input) ? pass.inputs[nn::Graph::InputIndex(input)]
                                               : absl::Span<const T>(pass.outputs[input]));
  }
  return inputs;
}

template <typename T>
int64_t Network<T>::BlockLength(int block) const {
  return graph_->blocks()[block].num_elements();
}

template class Network<float>;
template class Network<double>;

}  // namespace tessera::reference
