// Weights that come in from a safetensors file: through the servers' stores, into training and into
// executors.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/assemble.h"
#include "common/initial_weights.h"
#include "common/safetensors.h"
#include "common/status.h"
#include "job/weights_plan.h"
#include "server/store_factory.h"
#include "tests/common/temporary_folder.h"
#include "tests/golden/formula.h"
#include "tests/golden/pytorch.h"
#include "tests/integration/in_process_cluster.h"
#include "tests/integration/synthetic_job.h"
#include "worker/fixed_parameters.h"
#include "worker/nn/executor.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// A job whose model starts from `weights`, which nobody trains.
JobSpec JobFrom(const std::string& weights, std::vector<std::string> replace = {}) {
  JobSpec job;
  job.seed = 3;
  job.model.weights = weights;
  job.model.replace = std::move(replace);
  job.train.replicas = 1;
  job.train.optimizer = {.name = "sgd", .options = Options({{"lr", "0.1"}})};
  return job;
}

std::vector<ShardId> AllShards(const ShardLayout& layout) {
  std::vector<ShardId> shards(layout.shards().size());
  std::iota(shards.begin(), shards.end(), 0);
  return shards;
}

absl::StatusOr<std::unique_ptr<ParameterStore>> StoreOf(const JobSpec& job, const ShardLayout& layout,
                                                        absl::Span<const uint64_t> digests = {}) {
  return MakeStore(job, layout, /*steps_per_epoch=*/1, {{0, 0}}, AllShards(layout), digests);
}

// What the shards of `store` hold, by name.
absl::StatusOr<NamedTensors> TensorsOf(const ParameterStore& store) {
  std::vector<SharedTensor> by_shard;
  for (const ShardId shard : store.held()) {
    TESSERA_ASSIGN_OR_RETURN(const ShardVersion latest, store.Latest(shard));
    by_shard.push_back(latest.weights);
  }
  return AssembleTensors(store.layout(), by_shard);
}

std::shared_ptr<const nn::Graph> MakeGraph(const std::string& network, const Shape& image, int64_t classes) {
  const auto model = nn::ZooRegistry::Create("network", network, Options());
  auto graph = nn::Graph::Create((*model)->Layers(image, classes), image, classes);
  EXPECT_TRUE(graph.ok()) << graph.status();
  return std::make_shared<const nn::Graph>(*std::move(graph));
}

// The logits of a network whose weights have come from `job`'s file through a server's store.
absl::StatusOr<std::vector<float>> Logits(const JobSpec& job, const std::shared_ptr<const nn::Graph>& graph,
                                          const std::string& executor_name, absl::Span<const float> images) {
  TESSERA_ASSIGN_OR_RETURN(ShardLayout layout, ShardLayout::Create(graph->blocks(), job.cluster.shard_bytes));
  TESSERA_ASSIGN_OR_RETURN(const auto store, StoreOf(job, layout));
  TESSERA_ASSIGN_OR_RETURN(const NamedTensors tensors, TensorsOf(*store));
  TESSERA_ASSIGN_OR_RETURN(FixedParameters parameters, FixedParameters::Create(*graph, tensors));
  TESSERA_ASSIGN_OR_RETURN(
      auto executor, nn::ExecutorRegistry::Create("executor", executor_name, graph, nn::ExecutorOptions()));
  const std::vector<int32_t> labels(images.size() / NumElements(graph->inputs()[0].shape), 0);
  TESSERA_ASSIGN_OR_RETURN(nn::EvaluationResult result, executor->Evaluate({images, labels}, &parameters));
  return std::move(result.logits);
}

void ExpectLogitsAgree(const absl::StatusOr<std::vector<float>>& logits, const std::vector<float>& expected) {
  constexpr double kTolerance = 1e-4;
  ASSERT_TRUE(logits.ok()) << logits.status();
  ASSERT_EQ(logits->size(), expected.size());
  double worst = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>((*logits)[i]) - expected[i]));
  }
  EXPECT_LE(worst, kTolerance);
  testing::Test::RecordProperty("worst_logit_error", absl::StrFormat("%.2e", worst));
}

class WeightsFile : public testing::Test {
 protected:
  std::string path() const { return folder_.File("weights.safetensors"); }
  TemporaryFolder folder_;
};

// torchvision's names, so that a file of torchvision's and one of ours cannot be told apart.
class Resnet18Logits : public testing::TestWithParam<const char*> {
 protected:
  TemporaryFolder folder_;
};

TEST_P(Resnet18Logits, OfATorchvisionNamedFileArePyTorchs) {
  std::ifstream file(TESSERA_SOURCE_DIR "/tests/golden/resnet18_logits.json");
  const nlohmann::json golden = nlohmann::json::parse(file);
  const Shape images = golden.at("images").get<Shape>();
  const auto graph = MakeGraph("resnet18", {images.begin() + 1, images.end()}, golden.at("classes"));
  const golden::Formula formula(golden.at("seed").get<uint64_t>());
  NamedTensors tensors;
  for (const ParameterBlock& block : graph->blocks()) {
    for (const ParameterSpec& spec : block.parameters) {
      NamedTensor& tensor = tensors[spec.name] = {spec.shape, formula.Parameter(spec)};
      if (spec.shape.size() == 1) continue;
      for (float& value : tensor.values) value *= golden.at("scale").get<float>();
    }
  }
  const std::string path = folder_.File("resnet18.safetensors");
  ASSERT_TRUE(WriteSafetensors(path, tensors, {}).ok());
  ExpectLogitsAgree(Logits(JobFrom(path), graph, GetParam(), formula.Images(NumElements(images))),
                    golden.at("logits").get<std::vector<float>>());
}

TEST_P(Resnet18Logits, OfAFileThatPyTorchWroteArePyTorchs) {
  const std::string without = golden::WithoutPyTorch();
  if (!without.empty()) GTEST_SKIP() << without;
  const std::string path = folder_.File("resnet18.safetensors"), logits = folder_.File("logits.safetensors");
  ASSERT_TRUE(golden::RunMakeGolden(absl::StrCat("--logits ", path, " ", logits)));
  const absl::StatusOr<NamedTensors> expected = ReadSafetensors(logits);
  ASSERT_TRUE(expected.ok()) << expected.status();
  const NamedTensor& images = expected->at("images");
  const auto graph = MakeGraph("resnet18", {images.shape.begin() + 1, images.shape.end()}, 1000);
  ExpectLogitsAgree(Logits(JobFrom(path), graph, GetParam(), images.values), expected->at("logits").values);
}

INSTANTIATE_TEST_SUITE_P(Executors, Resnet18Logits, testing::Values("cpu", "reference"),
                         [](const auto& info) { return std::string(info.param); });

TEST_F(WeightsFile, OfARunGivesItsBitsToTheNext) {
  ASSERT_TRUE(WriteSyntheticData(folder_.path(), 32, 8).ok());
  const auto job = MakeSyntheticJob(SyntheticJobText(folder_.path(), "resnet20", 2, 4, 1));
  ASSERT_TRUE(job.ok()) << job.status();
  const auto run = RunInProcess(job->plan, job->data, {.servers = 2});
  ASSERT_TRUE(run.ok()) << run.status();
  ASSERT_TRUE(WriteSafetensors(path(), run->tensors, {}).ok());

  const auto store = StoreOf(JobFrom(path()), job->plan.layout);
  ASSERT_TRUE(store.ok()) << store.status();
  EXPECT_EQ(WeightsDigest(*TensorsOf(**store)), WeightsDigest(run->tensors));
}

// The last layer starts afresh, for other classes than the file's; training goes on from there, with the same
// bits on any cluster.
TEST_F(WeightsFile, IsFineTunedWithAReplacedLayer) {
  const auto pretrained = MakeGraph("lenet5", {1, 28, 28}, 1000);
  NamedTensors tensors;
  for (const ParameterBlock& block : pretrained->blocks()) {
    for (const ParameterSpec& spec : block.parameters) {
      std::vector<float> values(NumElements(spec.shape));
      FillInitial(/*seed=*/99, spec, 0, absl::MakeSpan(values));
      tensors[spec.name] = {spec.shape, std::move(values)};
    }
  }
  ASSERT_TRUE(WriteSafetensors(path(), tensors, {}).ok());
  ASSERT_TRUE(WriteSyntheticData(folder_.path(), 64, 20).ok());
  const auto make = [&](const std::string& model) {
    return MakeSyntheticJob(SyntheticJobText(folder_.path(), model, 2, 4, 1));
  };
  const auto job = make(absl::StrCat("{ name: lenet5, weights: ", path(), ", replace: [fc2] }"));
  ASSERT_TRUE(job.ok()) << job.status();

  const auto store = StoreOf(job->plan.job, job->plan.layout);
  ASSERT_TRUE(store.ok()) << store.status();
  const NamedTensors start = *TensorsOf(**store);
  EXPECT_EQ(start.at("conv1.weight").values, tensors.at("conv1.weight").values);
  EXPECT_EQ(start.at("fc1.bias").values, tensors.at("fc1.bias").values);
  EXPECT_EQ(start.at("fc2.weight").shape, (Shape{10, 500}));

  const auto one = RunInProcess(job->plan, job->data, {});
  const auto many = RunInProcess(job->plan, job->data, {.servers = 3, .workers = 2});
  const auto random = RunInProcess(make("lenet5")->plan, job->data, {});
  ASSERT_TRUE(one.ok()) << one.status();
  ASSERT_TRUE(many.ok()) << many.status();
  ASSERT_TRUE(random.ok()) << random.status();
  EXPECT_EQ(WeightsDigest(one->tensors), WeightsDigest(many->tensors));
  const auto distance = [&](const InProcessResult& run) {
    const std::vector<float>& now = run.tensors.at("fc1.weight").values;
    const std::vector<float>& then = tensors.at("fc1.weight").values;
    double squares = 0;
    for (size_t i = 0; i < now.size(); ++i) squares += std::pow(now[i] - then[i], 2);
    return squares;
  };
  EXPECT_GT(distance(*one), 0) << "trained";
  EXPECT_LT(distance(*one), distance(*random) / 10) << "and near the file's still";
}

TEST_F(WeightsFile, MustBeTheCoordinatorsOnEveryServer) {
  const auto graph = MakeGraph("lenet5", {1, 28, 28}, 10);
  const ShardLayout layout = *ShardLayout::Create(graph->blocks(), 64 * 1024);
  NamedTensors tensors;
  for (const ParameterBlock& block : graph->blocks()) {
    for (const ParameterSpec& spec : block.parameters) {
      tensors[spec.name] = {spec.shape, std::vector<float>(NumElements(spec.shape))};
    }
  }
  ASSERT_TRUE(WriteSafetensors(path(), tensors, {}).ok());
  const auto plan = PlanWeights(JobFrom(path()), layout);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(StoreOf(JobFrom(path()), layout, plan->shard_digests).ok());

  tensors["conv2.bias"].values[7] = 0x1p-149F;  // one bit, under the same header
  ASSERT_TRUE(WriteSafetensors(path(), tensors, {}).ok());
  const absl::Status status = StoreOf(JobFrom(path()), layout, plan->shard_digests).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr("model.weights: " + path()), HasSubstr("not the file that the coordinator has"),
                    HasSubstr("conv2")));
}

}  // namespace
}  // namespace tessera
