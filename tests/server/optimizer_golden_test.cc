// Ten steps of every optimizer on one shard of a parameter store agree with PyTorch's within 1e-6 relative.
//
// The error of an element is |a - b| / max(size, 1e-30), where size is the largest that the weight had before
// or after any of the steps. |a - b| / |b| says the same, but for a weight that a step carries close to zero:
// the difference of two nearly equal floats, whose own size says nothing of the rounding in it, neither of
// ours nor of PyTorch's. So in |b| the bound must hold for as many elements as it holds for PyTorch's float32
// against PyTorch's double (`against_double` of the golden file), less a part of kSlack.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "server/parameter_store.h"
#include "tests/server/test_shards.h"

namespace tessera {
namespace {

constexpr char kFolder[] = TESSERA_SOURCE_DIR "/tests/server/golden";
constexpr char kPython[] = "/usr/bin/python3";
constexpr double kBound = 1e-6;
constexpr double kSlack = 0.05;

nlohmann::json ReadJson(const std::string& path) {
  std::ifstream file(path);
  return nlohmann::json::parse(file, nullptr, /*allow_exceptions=*/false);
}

const nlohmann::json& Golden() {
  static const auto* golden = new nlohmann::json(ReadJson(absl::StrCat(kFolder, "/optimizers.json")));
  return *golden;
}

// One shard that starts with `weights`: a layer of parameters of one element, each with its own constant.
ShardLayout LayoutOf(const Floats& weights) {
  std::vector<ParameterSpec> parameters;
  for (size_t i = 0; i < weights.size(); ++i) {
    const Initializer start{Initializer::Kind::kConstant, weights[i]};
    parameters.push_back({absl::StrCat("w", i), {1, 1}, ParameterKind::kWeight, start});
  }
  return ShardLayout::Create({{"fc", ParameterKind::kWeight, std::move(parameters)}}, 1 << 20).value();
}

std::unique_ptr<ParameterStore> MakeStore(const nlohmann::json& golden, const nlohmann::json& test_case) {
  Options rule;
  for (const auto& [name, value] : test_case.at("options").items())
    rule.Set(name, {value.get<std::string>(), ""});
  ParameterStoreOptions options;
  options.consistency = {.replicas = 1, .group = 1};
  options.optimizer = CreateOptimizers(test_case.at("optimizer"), rule).value().all;
  options.schedule = CreateSchedule("constant", {}, {.total_steps = 10, .steps_per_epoch = 10}).value();
  return ParameterStore::Create(std::move(options), LayoutOf(golden.at("weights").get<Floats>()), {0})
      .value();
}

// The weights before and after each step.
std::vector<Floats> Train(const nlohmann::json& golden, const nlohmann::json& test_case) {
  const std::unique_ptr<ParameterStore> store = MakeStore(golden, test_case);
  std::vector<Floats> path = {Values(*store->Latest(0)->weights)};
  for (const nlohmann::json& gradient : golden.at("gradients")) {
    const auto clock = static_cast<Clock>(path.size()) - 1;
    EXPECT_TRUE(store->Push({0, {0, 0}, clock, clock}, Bytes(gradient.get<Floats>())).ok());
    path.push_back(Values(*store->Latest(0)->weights));
  }
  return path;
}

struct Comparison {
  double worst = 0;         // error as at the top of this file
  double worst_strict = 0;  // |a - b| / |b|
  double strict_part = 0;   // of the elements, those with |a - b| / |b| within the bound
};

Comparison Compare(const std::vector<Floats>& path, const Floats& expected) {
  Comparison result;
  for (size_t i = 0; i < expected.size(); ++i) {
    double size = 1e-30;
    for (const Floats& weights : path) size = std::max<double>(size, std::abs(weights[i]));
    const double distance = std::abs(static_cast<double>(path.back()[i]) - expected[i]);
    const double strict = distance / std::max<double>(std::abs(expected[i]), 1e-30);
    result.worst = std::max(result.worst, distance / size);
    result.worst_strict = std::max(result.worst_strict, strict);
    if (strict <= kBound) result.strict_part += 1.0 / static_cast<double>(expected.size());
  }
  return result;
}

// Adds GoogleTest failures to the running test.
void ExpectAgreement(const nlohmann::json& golden, const std::string& name) {
  ASSERT_TRUE(golden.is_object());
  const nlohmann::json& test_case = golden.at("cases").at(name);
  const std::vector<Floats> path = Train(golden, test_case);
  ASSERT_TRUE(SameBits(path.front(), golden.at("weights").get<Floats>()));
  ASSERT_EQ(path.size(), 11U);
  const Comparison found = Compare(path, test_case.at("weights").get<Floats>());
  EXPECT_LE(found.worst, kBound);
  EXPECT_GE(found.strict_part, test_case.at("against_double").at("strict_part").get<double>() - kSlack);
  testing::Test::RecordProperty("worst", absl::StrFormat("%.2e", found.worst));
  testing::Test::RecordProperty("worst_strict", absl::StrFormat("%.2e", found.worst_strict));
  testing::Test::RecordProperty("strict_part", absl::StrFormat("%.3f", found.strict_part));
}

std::vector<std::string> CaseNames() {
  std::vector<std::string> names;
  if (!Golden().is_object()) return {"absent"};
  for (const auto& [name, test_case] : Golden().at("cases").items()) names.push_back(name);
  return names;
}

class OptimizerGolden : public ::testing::TestWithParam<std::string> {};

TEST_P(OptimizerGolden, TenStepsAgreeWithPyTorch) { ExpectAgreement(Golden(), GetParam()); }

INSTANTIATE_TEST_SUITE_P(Cases, OptimizerGolden, ::testing::ValuesIn(CaseNames()),
                         [](const auto& info) { return info.param; });

TEST(OptimizerGolden, EveryOptimizerHasACaseWithAndWithoutWeightDecay) {
  std::set<std::string> with;
  std::set<std::string> without;
  for (const auto& [name, test_case] : Golden().at("cases").items()) {
    const bool decays = test_case.at("options").at("weight_decay") != "0";
    (decays ? with : without).insert(test_case.at("optimizer").get<std::string>());
  }
  for (const std::string& name : OptimizerRegistry::Names()) {
    EXPECT_EQ(with.count(name), 1U) << name;
    EXPECT_EQ(without.count(name), 1U) << name;
  }
}

// Whether the command ends with exit code 0 within `seconds`.
bool Runs(const std::string& command, int seconds) {
  const int status = std::system(absl::StrCat("timeout ", seconds, " ", command).c_str());
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST(OptimizerGolden, TenStepsAgreeWithThePyTorchInstalledHere) {
  if (!Runs(absl::StrCat(kPython, " -c 'import torch' 2>/dev/null"), 60)) {
    GTEST_SKIP() << kPython
                 << " has no torch (package python3-torch): only the committed values are compared";
  }
  const std::string path = absl::StrCat(testing::TempDir(), "optimizers-", getpid(), ".json");
  ASSERT_TRUE(Runs(absl::StrCat(kPython, " ", kFolder, "/make_optimizers.py ", path), 100));
  const nlohmann::json fresh = ReadJson(path);
  std::filesystem::remove(path);
  for (const std::string& name : CaseNames()) {
    SCOPED_TRACE(name);
    ExpectAgreement(fresh, name);
  }
}

}  // namespace
}  // namespace tessera
