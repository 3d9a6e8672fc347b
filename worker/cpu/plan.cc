#include "worker/cpu/plan.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "common/status.h"
#include "worker/cpu/op.h"
#include "worker/cpu/planner.h"
#include "worker/nn/batch_check.h"

namespace tessera::cpu {
namespace {

absl::Status ErrorOf(const nn::Node& node, const dnnl::error& error) {
  const std::string message = absl::StrCat("layer `", node.name, "`: oneDNN: ", error.what());
  return error.status == dnnl_out_of_memory ? absl::ResourceExhaustedError(message)
                                            : absl::InternalError(message);
}

// Runs `work` for `node`; oneDNN's exceptions end here.
template <typename Work>
absl::Status Guarded(const nn::Node& node, const Work& work) {
  try {
    work();
  } catch (const dnnl::error& error) {
    return ErrorOf(node, error);
  }
  return absl::OkStatus();
}

// oneDNN takes no const memories; what is read is not written.
void Point(const dnnl::memory& memory, const float* data) {
  memory.set_data_handle(const_cast<float*>(data));
}

bool OutputIsFinite(const NodeProgram& program) {
  if (!program.output.has_value()) return true;
  const dnnl::memory& memory = program.output->memory;
  return nn::AllFinite(absl::MakeConstSpan(static_cast<const float*>(memory.get_data_handle()),
                                           memory.get_desc().get_size() / sizeof(float)));
}

}  // namespace

Plan::Plan(std::shared_ptr<const nn::Graph> graph, int64_t batch, bool training, const dnnl::engine& engine)
    : graph_(std::move(graph)),
      batch_(batch),
      training_(training),
      finite_weights_(graph_->nodes().size(), true),
      run_{.stream = dnnl::stream(engine)} {}

absl::StatusOr<std::unique_ptr<Plan>> Plan::Create(std::shared_ptr<const nn::Graph> graph, int64_t batch,
                                                   bool training, const dnnl::engine& engine) {
  std::unique_ptr<Plan> plan(new Plan(std::move(graph), batch, training, engine));
  TESSERA_RETURN_IF_ERROR(plan->Build(engine));
  return plan;
}

absl::Status Plan::Build(const dnnl::engine& engine) {
  const int count = static_cast<int>(graph_->nodes().size());
  Planner planner(*graph_, batch_, training_, engine);
  std::vector<std::unique_ptr<Op>> ops;
  for (int n = 0; n < count; ++n) {
    TESSERA_ASSIGN_OR_RETURN(
        auto op, OpRegistry::Create("layer of the cpu executor", node(n).layer->kind(), node(n).layer));
    planner.BeginForward(n);
    TESSERA_RETURN_IF_ERROR(Guarded(node(n), [&] { op->PlanForward(planner); }));
    ops.push_back(std::move(op));
    needs_gradient_.push_back(planner.NeedsGradient(n));
  }
  for (int n = count - 1; training_ && n >= 0; --n) {
    if (!needs_gradient_[n]) continue;
    planner.BeginBackward(n);
    TESSERA_RETURN_IF_ERROR(Guarded(node(n), [&] { ops[n]->PlanBackward(planner); }));
  }
  programs_ = planner.TakePrograms();
  inputs_ = planner.TakeInputs();
  arena_ = planner.TakeArena();
  return Guarded(graph_->nodes().back(), [&] { arena_.Allocate(); });
}

void Plan::set_trace(TraceTrack trace) {
  trace_ = trace;
  trace_names_.clear();
  if (!trace_) return;
  for (const nn::Node& node : graph_->nodes()) trace_names_.push_back(trace_.recorder->Name(node.name));
}

TraceArgs Plan::TraceArgsOf(int n) const {
  TraceArgs args;
  if (!trace_) return args;
  args.layer = trace_names_[n];
  if (training_) args.clock = run_.key.clock;
  if (training_) args.replicas = {run_.key.replica, run_.key.replica};
  return args;
}

absl::StatusOr<nn::EvaluationResult> Plan::Forward(const nn::Batch& batch, const nn::StepKey& key,
                                                   nn::ParameterExchange* exchange) {
  TESSERA_CHECK(batch.size() == batch_);
  bool finite = true;
  for (size_t k = 0; k < inputs_.size(); ++k) {
    for (const dnnl::memory& memory : inputs_[k]) Point(memory, batch.inputs[k].data());
    finite = finite && nn::AllFinite(batch.inputs[k]);
  }
  run_.labels = batch.labels;
  run_.key = key;
  run_.finite = true;
  for (int n = 0; n < static_cast<int>(programs_.size()); ++n) {
    TESSERA_RETURN_IF_ERROR(BindWeights(n, exchange));
    const TraceSpan span(trace_, TraceKind::kForward, TraceArgsOf(n));
    TESSERA_RETURN_IF_ERROR(RunSteps(n, programs_[n].forward));
    finite = finite && finite_weights_[n];
  }
  if (!finite || !run_.finite || !std::isfinite(run_.loss_sum)) return NameNotFinite();
  nn::EvaluationResult result{run_.loss_sum, run_.correct, {}};
  if (!training_) result.logits.assign(run_.logits.begin(), run_.logits.end());
  return result;
}

absl::Status Plan::Backward(nn::ParameterExchange* exchange) {
  TESSERA_CHECK(training_);
  for (int n = static_cast<int>(programs_.size()) - 1; n >= 0; --n) {
    if (needs_gradient_[n]) TESSERA_RETURN_IF_ERROR(BackwardNode(n, exchange));
  }
  return absl::OkStatus();
}

absl::Status Plan::BackwardNode(int n, nn::ParameterExchange* exchange) {
  const TraceSpan span(trace_, TraceKind::kBackward, TraceArgsOf(n));
  const NodeProgram& program = programs_[n];
  const auto steps = absl::MakeConstSpan(program.backward);
  const int weights = node(n).weight_block, statistics = node(n).statistic_block;
  if (weights < 0) return RunSteps(n, steps);
  const auto bind = [&](int block, const std::vector<BlockBinding>& bindings) {
    const absl::Span<float> gradient = exchange->Gradient(block);
    for (const auto& [memory, offset] : bindings) Point(memory, gradient.data() + offset);
  };
  bind(weights, program.weight_gradients);
  if (statistics >= 0) bind(statistics, program.statistic_gradients);
  TESSERA_RETURN_IF_ERROR(RunSteps(n, steps.first(program.steps_to_weight_gradient)));
  TESSERA_RETURN_IF_ERROR(exchange->GradientReady(weights));
  if (statistics >= 0) TESSERA_RETURN_IF_ERROR(exchange->GradientReady(statistics));
  return RunSteps(n, steps.subspan(program.steps_to_weight_gradient));
}

// Some primitives make numbers of NaN (max-pooling, relu), so what they read from outside is checked here.
absl::Status Plan::BindWeights(int n, nn::ParameterExchange* exchange) {
  finite_weights_[n] = true;
  if (node(n).weight_block >= 0) {
    TESSERA_RETURN_IF_ERROR(BindBlock(n, node(n).weight_block, programs_[n].weights, exchange));
  }
  if (node(n).statistic_block < 0 || training_) return absl::OkStatus();
  return BindBlock(n, node(n).statistic_block, programs_[n].statistics, exchange);
}

absl::Status Plan::BindBlock(int n, int block, const std::vector<BlockBinding>& bindings,
                             nn::ParameterExchange* exchange) {
  TESSERA_ASSIGN_OR_RETURN(const absl::Span<const float> values, exchange->Weights(block));
  TESSERA_CHECK(static_cast<int64_t>(values.size()) == graph_->blocks()[block].num_elements());
  finite_weights_[n] = finite_weights_[n] && nn::AllFinite(values);
  for (const auto& [memory, offset] : bindings) Point(memory, values.data() + offset);
  return absl::OkStatus();
}

absl::Status Plan::RunSteps(int n, absl::Span<const Step> steps) {
  return Guarded(node(n), [&] {
    for (const Step& step : steps) step(run_);
  });
}

// Outputs share memory, so that most of them are gone by now: runs forward once more and looks at each.
absl::Status Plan::NameNotFinite() {
  run_.finite = true;
  for (int n = 0; n < static_cast<int>(programs_.size()); ++n) {
    TESSERA_RETURN_IF_ERROR(RunSteps(n, programs_[n].forward));
    if (!finite_weights_[n] || !run_.finite || !OutputIsFinite(programs_[n])) {
      return nn::NotFiniteOutput(node(n));
    }
  }
  return nn::NotFiniteLoss();
}

}  // namespace tessera::cpu
