#include "tests/golden/golden.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "common/safetensors.h"
#include "common/status.h"
#include "tests/golden/formula.h"
#include "tests/golden/pytorch.h"
#include "tests/worker/nn/memory_exchange.h"
#include "worker/nn/executor.h"

namespace tessera::golden {
namespace {

constexpr char kFolder[] = TESSERA_SOURCE_DIR "/tests/golden";
constexpr double kLossTolerance = 1e-5;
constexpr double kTensorTolerance = 1e-4;
constexpr double kTinyNorm = 1e-6;

// What a step left in memory; `tensors` refers to the rest.
struct Outcome {
  explicit Outcome(const nn::Graph& graph) : exchange(graph) {}

  nn::StepResult result;
  nn::MemoryExchange exchange;
  std::map<std::string, std::vector<float>> running;  // after the step
  std::map<std::string, absl::Span<const float>>
      tensors;  // "gradient/conv1.weight", "batch/...", "running/..."
};

class Step {
 public:
  // `golden` is one of the committed files.
  explicit Step(const nlohmann::json& golden)
      : network_(golden.at("network")),
        image_(golden.at("image").get<Shape>()),
        classes_(golden.at("classes")),
        batch_(golden.at("batch")),
        momentum_(golden.at("momentum")),
        formula_(golden.at("seed").get<uint64_t>()) {
    for (const auto& [key, value] : golden.at("options").items())
      options_.Set(key, {value.get<std::string>(), ""});
  }

  absl::StatusOr<std::unique_ptr<Outcome>> Run(const std::string& executor_name) const {
    TESSERA_ASSIGN_OR_RETURN(auto model, nn::ZooRegistry::Create("network", network_, options_));
    TESSERA_ASSIGN_OR_RETURN(nn::Graph made,
                             nn::Graph::Create(model->Layers(image_, classes_), image_, classes_));
    const auto graph = std::make_shared<const nn::Graph>(std::move(made));
    TESSERA_ASSIGN_OR_RETURN(
        auto executor, nn::ExecutorRegistry::Create("executor", executor_name, graph, nn::ExecutorOptions()));
    auto outcome = std::make_unique<Outcome>(*graph);
    FillWeights(*graph, outcome->exchange);
    const std::vector<float> images = formula_.Images(batch_ * NumElements(image_));
    const std::vector<int32_t> labels = formula_.Labels(batch_, classes_);
    TESSERA_ASSIGN_OR_RETURN(outcome->result, executor->Step({images, labels}, {}, &outcome->exchange));
    CollectTensors(*graph, *outcome);
    return outcome;
  }

 private:
  void FillWeights(const nn::Graph& graph, nn::MemoryExchange& exchange) const {
    for (size_t block = 0; block < graph.blocks().size(); ++block) {
      auto out = exchange.weights[block].begin();
      for (const ParameterSpec& spec : graph.blocks()[block].parameters) {
        const std::vector<float> values = formula_.Parameter(spec);
        out = std::copy(values.begin(), values.end(), out);
      }
    }
  }

  void CollectTensors(const nn::Graph& graph, Outcome& outcome) const {
    for (size_t block = 0; block < graph.blocks().size(); ++block) {
      const bool weights = graph.blocks()[block].kind == ParameterKind::kWeight;
      absl::Span<const float> before = outcome.exchange.weights[block];
      absl::Span<const float> gradient = outcome.exchange.gradients[block];
      for (const ParameterSpec& spec : graph.blocks()[block].parameters) {
        const auto length = static_cast<size_t>(NumElements(spec.shape));
        outcome.tensors[absl::StrCat(weights ? "gradient/" : "batch/", spec.name)] = gradient.first(length);
        if (!weights) CollectRunning(spec.name, before.first(length), gradient.first(length), outcome);
        before.remove_prefix(length);
        gradient.remove_prefix(length);
      }
    }
  }

  // What a server makes of the batch's statistics.
  void CollectRunning(const std::string& name, absl::Span<const float> before, absl::Span<const float> batch,
                      Outcome& outcome) const {
    std::vector<float>& running = outcome.running[name];
    std::transform(before.begin(), before.end(), batch.begin(), std::back_inserter(running),
                   [this](float r, float x) { return r + momentum_ * (x - r); });
    outcome.tensors[absl::StrCat("running/", name)] = running;
  }

  const std::string network_;
  Options options_;
  const Shape image_;
  const int64_t classes_, batch_;
  const float momentum_;
  const Formula formula_;
};

// ||a-b||/||b||, or where ||b|| is tiny ||a-b|| in such a unit that the same bound means kTinyNorm.
double Error(double distance, double norm) {
  return norm < kTinyNorm ? distance / kTinyNorm * kTensorTolerance : distance / norm;
}

std::vector<size_t> SampleIndices(const Formula& formula, const std::string& name, size_t size,
                                  size_t count) {
  std::vector<size_t> indices(count);
  const Formula::Stream stream = formula.Of(absl::StrCat("samples/", name));
  for (size_t k = 0; k < count; ++k) indices[k] = count == size ? k : stream.Bits(k) % size;
  return indices;
}

double SampledError(const Formula& formula, const std::string& name, const nlohmann::json& golden,
                    absl::Span<const float> values) {
  const std::vector<double> samples = golden.at("samples");
  const std::vector<size_t> indices = SampleIndices(formula, name, values.size(), samples.size());
  double squares = 0;
  for (size_t k = 0; k < samples.size(); ++k) squares += std::pow(values[indices[k]] - samples[k], 2);
  const double scale = static_cast<double>(values.size()) / static_cast<double>(samples.size());
  return Error(std::sqrt(squares * scale), golden.at("norm"));
}

// Products of `values` with vectors of +1 and -1: vector p has the signs of bit 63 - p.
std::vector<double> Projections(const Formula& formula, const std::string& name,
                                absl::Span<const float> values, size_t count) {
  const Formula::Stream signs = formula.Of(absl::StrCat("projections/", name));
  std::vector<double> products(count);
  for (size_t i = 0; i < values.size(); ++i) {
    const uint64_t bits = signs.Bits(i);
    for (size_t p = 0; p < count; ++p) products[p] += bits >> (63 - p) & 1 ? -values[i] : values[i];
  }
  return products;
}

// For a vector s of independent signs, the mean of (s . d)^2 is ||d||^2.
double ProjectedError(const Formula& formula, const std::string& name, const nlohmann::json& golden,
                      absl::Span<const float> values) {
  const std::vector<double> expected = golden.at("projections");
  const std::vector<double> products = Projections(formula, name, values, expected.size());
  double squares = 0;
  for (size_t p = 0; p < expected.size(); ++p) squares += std::pow(products[p] - expected[p], 2);
  return Error(std::sqrt(squares / static_cast<double>(expected.size())), golden.at("norm"));
}

void ExpectTensorMatches(const Formula& formula, const std::string& name, const nlohmann::json& golden,
                         absl::Span<const float> values) {
  ASSERT_EQ(static_cast<int64_t>(values.size()), NumElements(golden.at("shape").get<Shape>())) << name;
  EXPECT_LE(SampledError(formula, name, golden, values), kTensorTolerance) << name << ", by samples";
  EXPECT_LE(ProjectedError(formula, name, golden, values), kTensorTolerance) << name << ", by projections";
}

double Norm(absl::Span<const float> values) {
  double squares = 0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares);
}

double Distance(absl::Span<const float> a, absl::Span<const float> b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(squares);
}

nlohmann::json ReadGolden(const std::string& network) {
  std::ifstream file(absl::StrCat(kFolder, "/", network, ".json"));
  return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
}

void ExpectLossMatches(double loss, double expected) {
  EXPECT_LE(std::abs(loss - expected), kLossTolerance * std::abs(expected))
      << "loss " << loss << ", expected " << expected;
}

}  // namespace

void ExpectMatchesGolden(const std::string& executor, const std::string& network) {
  const nlohmann::json golden = ReadGolden(network);
  ASSERT_TRUE(golden.is_object()) << "no golden values of " << network;
  const auto run = Step(golden).Run(executor);
  ASSERT_TRUE(run.ok()) << run.status();
  const Outcome& outcome = **run;
  ExpectLossMatches(outcome.result.loss, golden.at("loss"));
  EXPECT_EQ(outcome.result.correct, golden.at("correct").get<int64_t>());
  const Formula formula(golden.at("seed").get<uint64_t>());
  ASSERT_EQ(outcome.tensors.size(), golden.at("tensors").size());
  for (const auto& [name, values] : outcome.tensors) {
    ASSERT_TRUE(golden.at("tensors").contains(name)) << name;
    ExpectTensorMatches(formula, name, golden.at("tensors").at(name), values);
  }
}

void ExpectMatchesPyTorch(const std::string& executor, const std::string& network) {
  const std::string without = WithoutPyTorch();
  if (!without.empty()) GTEST_SKIP() << without;
  const nlohmann::json golden = ReadGolden(network);
  ASSERT_TRUE(golden.is_object()) << "no golden values of " << network;
  const auto run = Step(golden).Run(executor);
  ASSERT_TRUE(run.ok()) << run.status();
  const Outcome& outcome = **run;

  const std::string path =
      absl::StrCat(testing::TempDir(), "golden-", network, "-", executor, "-", getpid(), ".safetensors");
  ASSERT_TRUE(RunMakeGolden(absl::StrCat("--full ", network, " ", path)));
  absl::StatusOr<NamedTensors> expected = ReadSafetensors(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(expected.ok()) << expected.status();

  ExpectLossMatches(outcome.result.loss, expected->at("loss").values[0]);
  expected->erase("loss");
  ASSERT_EQ(outcome.tensors.size(), expected->size());
  double worst = 0;
  for (const auto& [name, values] : outcome.tensors) {
    ASSERT_TRUE(expected->count(name) == 1 && expected->at(name).values.size() == values.size()) << name;
    const std::vector<float>& want = expected->at(name).values;
    const double error = Error(Distance(values, want), Norm(want));
    EXPECT_LE(error, kTensorTolerance) << name;
    worst = std::max(worst, error);
  }
  testing::Test::RecordProperty("worst_relative_error", absl::StrFormat("%.2e", worst));
}

}  // namespace tessera::golden
