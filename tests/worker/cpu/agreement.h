// Compares the cpu executor with the reference on the same weights and the same batch.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "common/random.h"
#include "common/shape.h"
#include "tests/worker/nn/memory_exchange.h"
#include "worker/nn/executor.h"
#include "worker/nn/graph.h"

namespace tessera::cpu {

// Random inputs and labels of a graph. Values are multiples of 1/8 between -1 and 1, so that many are equal.
struct Samples {
  Samples(const nn::Graph& graph, int64_t size, uint64_t seed = 3) {
    const RandomStream classes(seed, RandomPurpose::kSampleOrder);
    for (const nn::InputSpec& input : graph.inputs()) {
      const RandomStream pixels(seed, RandomPurpose::kAugmentation, inputs.size());
      std::vector<float>& values = inputs.emplace_back(static_cast<size_t>(size * NumElements(input.shape)));
      for (size_t i = 0; i < values.size(); ++i) values[i] = std::round(16 * pixels.Uniform(i) - 8) / 8;
    }
    for (int64_t n = 0; n < size; ++n) {
      labels.push_back(static_cast<int32_t>(
          classes.Below(static_cast<uint64_t>(n), static_cast<uint64_t>(graph.classes()))));
    }
  }
  nn::Batch batch() const {
    return {std::vector<absl::Span<const float>>(inputs.begin(), inputs.end()), labels};
  }

  std::vector<std::vector<float>> inputs;
  std::vector<int32_t> labels;
};

// Null, and a failure of the running test, when the layers make no graph.
inline std::shared_ptr<const nn::Graph> MakeGraph(std::vector<nn::LayerSpec> layers,
                                                  std::vector<nn::InputSpec> inputs, int64_t classes = 3) {
  auto graph = nn::Graph::Create(std::move(layers), std::move(inputs), classes);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return graph.ok() ? std::make_shared<const nn::Graph>(*std::move(graph)) : nullptr;
}
inline std::shared_ptr<const nn::Graph> MakeGraph(std::vector<nn::LayerSpec> layers, const Shape& image,
                                                  int64_t classes = 3) {
  return MakeGraph(std::move(layers), std::vector<nn::InputSpec>{{nn::kImageName, image}}, classes);
}

inline std::unique_ptr<nn::Executor> MakeExecutor(const std::string& name,
                                                  std::shared_ptr<const nn::Graph> graph, int threads = 1) {
  const nn::ExecutorOptions options{.threads = threads};
  auto executor = nn::ExecutorRegistry::Create("executor", name, std::move(graph), options);
  EXPECT_TRUE(executor.ok()) << executor.status();
  return executor.ok() ? *std::move(executor) : nullptr;
}

// Random weights: those that start constant (of a norm) around that value, the others as they start. Layers
// whose name starts with "exact" have multiples of 1/4: on the pixels of Samples their sums are exact in any
// order, so that equal outputs are equal in every executor.
inline nn::MemoryExchange RandomWeights(const nn::Graph& graph, uint64_t seed = 5) {
  nn::MemoryExchange exchange(graph);
  for (size_t block = 0; block < exchange.weights.size(); ++block) {
    const RandomStream stream(seed, RandomPurpose::kInitialWeights, block);
    const bool exact = absl::StartsWith(graph.blocks()[block].layer, "exact");
    size_t i = 0;
    for (const ParameterSpec& parameter : graph.blocks()[block].parameters) {
      const bool constant = parameter.init.kind == Initializer::Kind::kConstant;
      const float center = constant ? parameter.init.value : 0;
      const float width = constant ? 0.25F : parameter.init.value;
      const size_t end = i + static_cast<size_t>(NumElements(parameter.shape));
      for (; i < end; ++i) {
        const float value = center + width * (2 * stream.Uniform(i) - 1);
        exchange.weights[block][i] = exact ? std::round(4 * value) / 4 : value;
      }
    }
  }
  return exchange;
}

// Of the steps' randomness.
constexpr nn::StepKey kKey = {.seed = 11, .replica = 2, .clock = 5};

// ||actual - expected|| / ||expected|| is at most 1e-4; 1e-6 absolute where ||expected|| < 1e-6.
inline void ExpectClose(const std::vector<float>& actual, const std::vector<float>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  double difference = 0, norm = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    difference += std::pow(static_cast<double>(actual[i]) - expected[i], 2);
    norm += std::pow(static_cast<double>(expected[i]), 2);
  }
  const double bound = std::sqrt(norm) < 1e-6 ? 1e-6 : 1e-4 * std::sqrt(norm);
  EXPECT_LE(std::sqrt(difference), bound) << "norm " << std::sqrt(norm);
}

// One training step of `size` images: loss (1e-5 relative), every gradient and every statistic. Then
// evaluation.
inline void ExpectAgreement(const std::shared_ptr<const nn::Graph>& graph, int64_t size) {
  ASSERT_NE(graph, nullptr);
  const auto cpu = MakeExecutor("cpu", graph), reference = MakeExecutor("reference", graph);
  const Samples samples(*graph, size);
  nn::MemoryExchange actual = RandomWeights(*graph), expected = RandomWeights(*graph);
  const auto step = cpu->Step(samples.batch(), kKey, &actual);
  const auto expected_step = reference->Step(samples.batch(), kKey, &expected);
  ASSERT_TRUE(step.ok()) << step.status();
  ASSERT_TRUE(expected_step.ok()) << expected_step.status();
  EXPECT_NEAR(step->loss, expected_step->loss, 1e-5 * expected_step->loss + 1e-7);
  for (size_t block = 0; block < actual.gradients.size(); ++block) {
    SCOPED_TRACE("block " + std::to_string(block) + " of layer " + graph->blocks()[block].layer);
    ExpectClose(actual.gradients[block], expected.gradients[block]);
  }
  const auto evaluation = cpu->Evaluate(samples.batch(), &actual);
  const auto expected_evaluation = reference->Evaluate(samples.batch(), &expected);
  ASSERT_TRUE(evaluation.ok()) << evaluation.status();
  ASSERT_TRUE(expected_evaluation.ok()) << expected_evaluation.status();
  EXPECT_NEAR(evaluation->loss_sum, expected_evaluation->loss_sum,
              1e-5 * expected_evaluation->loss_sum + 1e-7);
  EXPECT_EQ(static_cast<int64_t>(evaluation->logits.size()), size * graph->classes());
  ExpectClose(evaluation->logits, expected_evaluation->logits);
}

}  // namespace tessera::cpu
