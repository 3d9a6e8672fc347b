// Images per second of the cpu executor: one training step (forward and backward), and evaluation.
#include <benchmark/benchmark.h>

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "worker/nn/executor.h"
#include "worker/nn/graph.h"

namespace tessera {
namespace {

constexpr int64_t kClasses = 10;

// Weights and gradients in memory, filled once.
class MemoryExchange final : public nn::ParameterExchange {
 public:
  explicit MemoryExchange(const nn::Graph& graph) {
    std::mt19937 random(1);
    for (const ParameterBlock& block : graph.blocks()) {
      std::vector<float>& values = weights_.emplace_back();
      for (const ParameterSpec& parameter : block.parameters) Append(parameter, random, values);
      gradients_.emplace_back(values.size());
    }
  }

  absl::StatusOr<absl::Span<const float>> Weights(int block) override { return weights_[block]; }
  absl::Span<float> Gradient(int block) override { return absl::MakeSpan(gradients_[block]); }
  absl::Status GradientReady(int /*block*/) override { return absl::OkStatus(); }

 private:
  static void Append(const ParameterSpec& parameter, std::mt19937& random, std::vector<float>& values) {
    std::uniform_real_distribution<float> uniform(-1, 1);
    const bool constant = parameter.init.kind == Initializer::Kind::kConstant;
    for (int64_t i = 0; i < NumElements(parameter.shape); ++i) {
      values.push_back(parameter.init.value * (constant ? 1.0f : uniform(random)));
    }
  }

  std::vector<std::vector<float>> weights_, gradients_;
};

// Random images with random labels.
struct Images {
  Images(const Shape& image, int64_t size) {
    std::mt19937 random(2);
    std::normal_distribution<float> normal;
    pixels.resize(static_cast<size_t>(size * NumElements(image)));
    for (float& pixel : pixels) pixel = normal(random);
    for (int64_t n = 0; n < size; ++n) labels.push_back(static_cast<int32_t>(n % kClasses));
  }
  nn::Batch batch() const { return {pixels, labels}; }

  std::vector<float> pixels;
  std::vector<int32_t> labels;
};

absl::StatusOr<std::shared_ptr<const nn::Graph>> MakeGraph(const std::string& model, const Shape& image) {
  auto network = nn::ZooRegistry::Create("model", model, Options());
  if (!network.ok()) return network.status();
  auto graph = nn::Graph::Create((*network)->Layers(image, kClasses), image, kClasses);
  if (!graph.ok()) return graph.status();
  return std::make_shared<const nn::Graph>(*std::move(graph));
}

// Calls run(executor, batch, exchange) for batches of range(0) images on range(1) threads.
template <typename Call>
void Measure(benchmark::State& state, const std::string& model, const Shape& image, const Call& run) {
  auto graph = MakeGraph(model, image);
  if (!graph.ok()) return state.SkipWithError(graph.status().ToString().c_str());
  const nn::ExecutorOptions options{.threads = static_cast<int>(state.range(1))};
  auto executor = nn::ExecutorRegistry::Create("executor", "cpu", *graph, options);
  if (!executor.ok()) return state.SkipWithError(executor.status().ToString().c_str());
  MemoryExchange exchange(**graph);
  const Images images(image, state.range(0));
  const nn::Batch batch = images.batch();
  // The first one makes the plan.
  absl::Status status = run(**executor, batch, &exchange);
  for (auto _ : state) {
    status.Update(run(**executor, batch, &exchange));
    if (!status.ok()) return state.SkipWithError(status.ToString().c_str());
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void Train(benchmark::State& state, const std::string& model, const Shape& image) {
  Measure(state, model, image, [](nn::Executor& executor, const nn::Batch& batch, MemoryExchange* exchange) {
    return executor.Step(batch, {}, exchange).status();
  });
}

void Evaluate(benchmark::State& state, const std::string& model, const Shape& image) {
  Measure(state, model, image, [](nn::Executor& executor, const nn::Batch& batch, MemoryExchange* exchange) {
    return executor.Evaluate(batch, exchange).status();
  });
}

const std::vector<std::string> kArguments = {"batch", "threads"};
// Real time: the processor time of the main thread alone says little when there are more.
BENCHMARK_CAPTURE(Train, lenet5, "lenet5", {1, 28, 28})
    ->ArgNames(kArguments)
    ->Args({64, 1})
    ->Args({64, 2})
    ->UseRealTime();
BENCHMARK_CAPTURE(Train, resnet20, "resnet20", {3, 32, 32})
    ->ArgNames(kArguments)
    ->Args({64, 1})
    ->Args({64, 2})
    ->UseRealTime();
BENCHMARK_CAPTURE(Train, resnet18, "resnet18", {3, 64, 64})
    ->ArgNames(kArguments)
    ->Args({32, 1})
    ->Args({32, 2})
    ->UseRealTime();
BENCHMARK_CAPTURE(Evaluate, lenet5, "lenet5", {1, 28, 28})
    ->ArgNames(kArguments)
    ->Args({500, 1})
    ->UseRealTime();
BENCHMARK_CAPTURE(Evaluate, resnet20, "resnet20", {3, 32, 32})
    ->ArgNames(kArguments)
    ->Args({500, 1})
    ->UseRealTime();

}  // namespace
}  // namespace tessera
