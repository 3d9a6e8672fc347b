#include "tests/golden/golden.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "common/random.h"
#include "common/safetensors.h"
#include "common/status.h"
#include "tests/worker/nn/memory_exchange.h"
#include "worker/nn/executor.h"

namespace tessera::golden {
namespace {

constexpr char kFolder[] = TESSERA_SOURCE_DIR "/tests/golden";
constexpr char kPython[] = "/usr/bin/python3";
constexpr double kLossTolerance = 1e-5;
constexpr double kTensorTolerance = 1e-4;
constexpr double kTinyNorm = 1e-6;

// Class Formula of make_golden.py.
class Formula {
 public:
  explicit Formula(uint64_t seed) : seed_(seed) {}

  uint64_t Bits(const std::string& name, uint64_t element) const {
    uint64_t z = HashName(absl::StrCat(seed_, "/", name)) + (element + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }

  // In [-1, 1), 24 bits.
  double Uniform(const std::string& name, uint64_t element) const {
    return static_cast<double>(Bits(name, element) >> 40) * 0x1p-23 - 1.0;
  }

  float Parameter(const ParameterSpec& spec, uint64_t element) const {
    const double u = Uniform(spec.name, element);
    if (spec.shape.size() > 1) {
      const double fan_in = static_cast<double>(NumElements(spec.shape) / spec.shape[0]);
      return static_cast<float>(u * std::sqrt(6.0 / fan_in));
    }
    if (EndsWith(spec.name, "running_mean")) return static_cast<float>(0.1 * u);
    if (EndsWith(spec.name, ".weight") || EndsWith(spec.name, "running_var")) {
      return static_cast<float>(1.0 + 0.1 * u);
    }
    return static_cast<float>(u < 0 ? u - 1.0 : u + 1.0);
  }

 private:
  static bool EndsWith(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
  }

  const uint64_t seed_;
};

struct Outcome {
  double loss = 0;
  int64_t correct = 0;
  std::map<std::string, std::vector<float>> tensors;  // "gradient/conv1.weight", "batch/...", "running/..."
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
        formula_(golden.at("seed").get<uint64_t>()) {}

  absl::StatusOr<Outcome> Run(const std::string& executor_name) const {
    TESSERA_ASSIGN_OR_RETURN(auto model, nn::ZooRegistry::Create("network", network_, Options()));
    TESSERA_ASSIGN_OR_RETURN(nn::Graph made,
                             nn::Graph::Create(model->Layers(image_, classes_), image_, classes_));
    const auto graph = std::make_shared<const nn::Graph>(std::move(made));
    TESSERA_ASSIGN_OR_RETURN(
        auto executor, nn::ExecutorRegistry::Create("executor", executor_name, graph, nn::ExecutorOptions()));
    nn::MemoryExchange exchange(*graph);
    FillWeights(*graph, exchange);
    const std::vector<float> images = Images();
    const std::vector<int32_t> labels = Labels();
    TESSERA_ASSIGN_OR_RETURN(const nn::StepResult result, executor->Step({images, labels}, {}, &exchange));
    Outcome outcome{result.loss, result.correct, {}};
    CollectTensors(*graph, exchange, outcome);
    return outcome;
  }

 private:
  void FillWeights(const nn::Graph& graph, nn::MemoryExchange& exchange) const {
    for (size_t block = 0; block < graph.blocks().size(); ++block) {
      auto out = exchange.weights[block].begin();
      for (const ParameterSpec& spec : graph.blocks()[block].parameters) {
        const int64_t length = NumElements(spec.shape);
        for (int64_t i = 0; i < length; ++i) *out++ = formula_.Parameter(spec, i);
      }
    }
  }

  std::vector<float> Images() const {
    std::vector<float> images(batch_ * NumElements(image_));
    for (size_t i = 0; i < images.size(); ++i) images[i] = static_cast<float>(formula_.Uniform("images", i));
    return images;
  }

  std::vector<int32_t> Labels() const {
    std::vector<int32_t> labels(batch_);
    for (size_t n = 0; n < labels.size(); ++n) {
      labels[n] = static_cast<int32_t>(formula_.Bits("labels", n) % classes_);
    }
    return labels;
  }

  void CollectTensors(const nn::Graph& graph, const nn::MemoryExchange& exchange, Outcome& outcome) const {
    for (size_t block = 0; block < graph.blocks().size(); ++block) {
      const bool weights = graph.blocks()[block].kind == ParameterKind::kWeight;
      auto before = exchange.weights[block].begin();
      auto gradient = exchange.gradients[block].begin();
      for (const ParameterSpec& spec : graph.blocks()[block].parameters) {
        const int64_t length = NumElements(spec.shape);
        const std::string name = absl::StrCat(weights ? "gradient/" : "batch/", spec.name);
        outcome.tensors[name].assign(gradient, gradient + length);
        if (!weights) {
          std::vector<float>& running = outcome.tensors[absl::StrCat("running/", spec.name)];
          std::transform(before, before + length, gradient, std::back_inserter(running),
                         [this](float r, float x) { return r + momentum_ * (x - r); });
        }
        before += length;
        gradient += length;
      }
    }
  }

  const std::string network_;
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
  for (size_t k = 0; k < count; ++k) {
    indices[k] = count == size ? k : formula.Bits(absl::StrCat("samples/", name), k) % size;
  }
  return indices;
}

double SampledError(const Formula& formula, const std::string& name, const nlohmann::json& golden,
                    const std::vector<float>& values) {
  const std::vector<double> samples = golden.at("samples");
  const std::vector<size_t> indices = SampleIndices(formula, name, values.size(), samples.size());
  double squares = 0;
  for (size_t k = 0; k < samples.size(); ++k) squares += std::pow(values[indices[k]] - samples[k], 2);
  const double scale = static_cast<double>(values.size()) / static_cast<double>(samples.size());
  return Error(std::sqrt(squares * scale), golden.at("norm"));
}

// For a vector s of independent signs, the mean of (s . d)^2 is ||d||^2.
double ProjectedError(const Formula& formula, const std::string& name, const nlohmann::json& golden,
                      const std::vector<float>& values) {
  const std::vector<double> expected = golden.at("projections");
  double squares = 0;
  for (size_t p = 0; p < expected.size(); ++p) {
    const std::string key = absl::StrCat("projection", p, "/", name);
    double product = 0;
    for (size_t i = 0; i < values.size(); ++i) product += formula.Bits(key, i) >> 63 ? -values[i] : values[i];
    squares += std::pow(product - expected[p], 2);
  }
  return Error(std::sqrt(squares / static_cast<double>(expected.size())), golden.at("norm"));
}

void ExpectTensorMatches(const Formula& formula, const std::string& name, const nlohmann::json& golden,
                         const std::vector<float>& values) {
  ASSERT_EQ(static_cast<int64_t>(values.size()), NumElements(golden.at("shape").get<Shape>())) << name;
  EXPECT_LE(SampledError(formula, name, golden, values), kTensorTolerance) << name << ", by samples";
  EXPECT_LE(ProjectedError(formula, name, golden, values), kTensorTolerance) << name << ", by projections";
}

double Distance(const std::vector<float>& a, const std::vector<float>& b) {
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += std::pow(static_cast<double>(a[i]) - b[i], 2);
  return std::sqrt(squares);
}

nlohmann::json ReadGolden(const std::string& network) {
  std::ifstream file(absl::StrCat(kFolder, "/", network, ".json"));
  return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
}

// Whether the command ends with exit code 0 within `seconds`.
bool Runs(const std::string& command, int seconds) {
  const int status = std::system(absl::StrCat("timeout ", seconds, " ", command).c_str());
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

void ExpectLossMatches(double loss, double expected) {
  EXPECT_LE(std::abs(loss - expected), kLossTolerance * std::abs(expected))
      << "loss " << loss << ", expected " << expected;
}

}  // namespace

void ExpectMatchesGolden(const std::string& executor, const std::string& network) {
  const nlohmann::json golden = ReadGolden(network);
  ASSERT_TRUE(golden.is_object()) << "no golden values of " << network;
  const absl::StatusOr<Outcome> outcome = Step(golden).Run(executor);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ExpectLossMatches(outcome->loss, golden.at("loss"));
  EXPECT_EQ(outcome->correct, golden.at("correct").get<int64_t>());
  const Formula formula(golden.at("seed").get<uint64_t>());
  ASSERT_EQ(outcome->tensors.size(), golden.at("tensors").size());
  for (const auto& [name, values] : outcome->tensors) {
    ASSERT_TRUE(golden.at("tensors").contains(name)) << name;
    ExpectTensorMatches(formula, name, golden.at("tensors").at(name), values);
  }
}

void ExpectMatchesPyTorch(const std::string& executor, const std::string& network) {
  if (!Runs(absl::StrCat(kPython, " -c 'import torch' 2>/dev/null"), 60)) {
    GTEST_SKIP() << kPython << " has no torch (package python3-torch): the full comparison is left out";
  }
  const nlohmann::json golden = ReadGolden(network);
  ASSERT_TRUE(golden.is_object()) << "no golden values of " << network;
  const absl::StatusOr<Outcome> outcome = Step(golden).Run(executor);
  ASSERT_TRUE(outcome.ok()) << outcome.status();

  const std::string path =
      absl::StrCat(testing::TempDir(), "golden-", network, "-", executor, "-", getpid(), ".safetensors");
  ASSERT_TRUE(Runs(absl::StrCat(kPython, " ", kFolder, "/make_golden.py --full ", network, " ", path), 200));
  absl::StatusOr<NamedTensors> expected = ReadSafetensors(path);
  std::filesystem::remove(path);
  ASSERT_TRUE(expected.ok()) << expected.status();

  ExpectLossMatches(outcome->loss, expected->at("loss").values[0]);
  expected->erase("loss");
  ASSERT_EQ(outcome->tensors.size(), expected->size());
  double worst = 0;
  for (const auto& [name, values] : outcome->tensors) {
    ASSERT_TRUE(expected->count(name) == 1 && expected->at(name).values.size() == values.size()) << name;
    const std::vector<float>& want = expected->at(name).values;
    const double error = Error(Distance(values, want), Distance(want, std::vector<float>(want.size())));
    EXPECT_LE(error, kTensorTolerance) << name;
    worst = std::max(worst, error);
  }
  testing::Test::RecordProperty("worst_relative_error", absl::StrFormat("%.2e", worst));
}

}  // namespace tessera::golden
