#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "worker/nn/graph.h"

namespace tessera::nn {
namespace {

using testing::HasSubstr;

absl::StatusOr<Graph> Make(const std::string& network, const Shape& image, int64_t classes = 10) {
  auto model = ZooRegistry::Create("network", network, Options());
  if (!model.ok()) return model.status();
  return Graph::Create((*model)->Layers(image, classes), image, classes);
}

std::vector<std::string> ParameterNames(const Graph& graph) {
  std::vector<std::string> names;
  for (const ParameterBlock& block : graph.blocks()) {
    for (const ParameterSpec& parameter : block.parameters) names.push_back(parameter.name);
  }
  return names;
}

TEST(Lenet5, HasThePublishedParametersAndNames) {
  const auto graph = Make("lenet5", {1, 28, 28});
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->num_parameters(), 431080);
  EXPECT_THAT(ParameterNames(*graph),
              testing::ElementsAre("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "fc1.weight",
                                   "fc1.bias", "fc2.weight", "fc2.bias"));
}

TEST(Lenet5, TakesOtherImagesAndClasses) {
  const auto graph = Make("lenet5", {3, 32, 32}, 7);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->InputShape(graph->nodes().back(), 0), Shape{7});
}

TEST(Lenet5, ATooSmallImageNamesTheLayer) {
  const auto graph = Make("lenet5", {1, 12, 12});
  ASSERT_FALSE(graph.ok());
  EXPECT_EQ(graph.status().message(), "layer `conv2`: kernel 5 does not fit its input [20,4,4]");
}

TEST(Resnet20, HasThePublishedParametersAndNames) {
  const auto graph = Make("resnet20", {3, 32, 32});
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->num_parameters(), 269722);
  const std::vector<std::string> names = ParameterNames(*graph);
  EXPECT_EQ(names.size(), 19u * 5 + 2);
  for (const char* name : {"conv1.weight", "bn1.running_var", "layer1.0.conv1.weight", "layer2.0.bn2.bias",
                           "layer3.2.conv2.weight", "linear.weight", "linear.bias"}) {
    EXPECT_THAT(names, testing::Contains(name));
  }
}

TEST(Resnet20, WorksForGreyImagesOfAnySize) {
  const auto grey = Make("resnet20", {1, 28, 28});
  ASSERT_TRUE(grey.ok()) << grey.status();
  EXPECT_EQ(grey->num_parameters(), 269722 - 2 * 16 * 9);
  EXPECT_TRUE(Make("resnet20", {1, 7, 9}).ok());
}

TEST(Resnet20, EndsInStagesOf16And32And64Channels) {
  const auto graph = Make("resnet20", {3, 32, 32});
  ASSERT_TRUE(graph.ok());
  std::map<std::string, Shape> outputs;
  for (const Node& node : graph->nodes()) outputs[node.name] = node.output;
  EXPECT_EQ(outputs["layer1.2.relu2"], (Shape{16, 32, 32}));
  EXPECT_EQ(outputs["layer2.2.relu2"], (Shape{32, 16, 16}));
  EXPECT_EQ(outputs["layer3.2.relu2"], (Shape{64, 8, 8}));
}

// Against tests/golden/state_dicts.json, which PyTorch made.
class Published : public testing::TestWithParam<const char*> {
 protected:
  static nlohmann::json Golden() {
    std::ifstream file(TESSERA_SOURCE_DIR "/tests/golden/state_dicts.json");
    return nlohmann::json::parse(file).at(GetParam());
  }

  static absl::StatusOr<Graph> MakePublished() {
    const bool small = std::string(GetParam()).find("resnet") == 0 && Golden().at("parameters") < 1'000'000;
    return small ? Make(GetParam(), {3, 32, 32}, 10) : Make(GetParam(), {3, 224, 224}, 1000);
  }
};

TEST_P(Published, NumberOfParametersIsPyTorchs) {
  const auto graph = MakePublished();
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->num_parameters(), Golden().at("parameters").get<int64_t>());
}

TEST_P(Published, NamesShapesAndOrderArePyTorchs) {
  const auto graph = MakePublished();
  ASSERT_TRUE(graph.ok()) << graph.status();
  std::vector<std::pair<std::string, Shape>> ours;
  for (const ParameterBlock& block : graph->blocks()) {
    for (const ParameterSpec& parameter : block.parameters)
      ours.emplace_back(parameter.name, parameter.shape);
  }
  const auto theirs = Golden().at("state_dict").get<std::vector<std::pair<std::string, Shape>>>();
  EXPECT_EQ(ours, theirs);
}

INSTANTIATE_TEST_SUITE_P(Zoo, Published,
                         testing::Values("resnet20", "resnet32", "resnet56", "resnet18", "resnet34",
                                         "resnet50", "vgg11", "vgg16", "alexnet"),
                         [](const auto& info) { return std::string(info.param); });

// The literature's own numbers, so that a wrong golden file does not pass for right.
TEST(Zoo, HasThePublishedNumbersOfParameters) {
  const std::map<std::string, int64_t> photographs = {{"alexnet", 61'100'840},  {"vgg11", 132'863'336},
                                                      {"vgg16", 138'357'544},   {"resnet18", 11'689'512},
                                                      {"resnet34", 21'797'672}, {"resnet50", 25'557'032}};
  for (const auto& [name, parameters] : photographs) {
    EXPECT_EQ(Make(name, {3, 224, 224}, 1000)->num_parameters(), parameters) << name;
  }
  EXPECT_EQ(Make("resnet32", {3, 32, 32})->num_parameters(), 464'154);
  EXPECT_EQ(Make("resnet56", {3, 32, 32})->num_parameters(), 853'018);
}

Shape OutputOf(const Graph& graph, const std::string& layer) {
  for (const Node& node : graph.nodes()) {
    if (node.name == layer) return node.output;
  }
  return {};
}

// v1.5: the 3x3 convolution halves the image, not the 1x1 before it.
TEST(Resnet50, HasTheStrideOnThe3x3Convolution) {
  const auto graph = Make("resnet50", {3, 224, 224}, 1000);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(OutputOf(*graph, "layer2.0.conv1"), (Shape{128, 56, 56}));
  EXPECT_EQ(OutputOf(*graph, "layer2.0.conv2"), (Shape{128, 28, 28}));
  EXPECT_EQ(OutputOf(*graph, "layer4.2.relu3"), (Shape{2048, 7, 7}));
}

TEST(Zoo, NetworksForPhotographsTakeGreyAndSmallImages) {
  for (const char* name : {"resnet18", "resnet34", "resnet50"}) {
    EXPECT_TRUE(Make(name, {1, 28, 28}).ok()) << name;
    EXPECT_TRUE(Make(name, {4, 37, 50}, 3).ok()) << name;
  }
  EXPECT_TRUE(Make("vgg11", {1, 32, 32}).ok());
  EXPECT_TRUE(Make("vgg16", {6, 40, 33}, 3).ok());
  EXPECT_TRUE(Make("alexnet", {1, 63, 63}).ok());
  EXPECT_EQ(Make("vgg11", {3, 31, 31}).status().message(),
            "layer `features.20`: kernel 2 does not fit its input [512,1,1]");
  EXPECT_EQ(Make("alexnet", {3, 62, 62}).status().message(),
            "layer `features.12`: kernel 3 does not fit its input [256,2,2]");
}

const ParameterSpec& Parameter(const Graph& graph, const std::string& name) {
  for (const ParameterBlock& block : graph.blocks()) {
    for (const ParameterSpec& parameter : block.parameters) {
      if (parameter.name == name) return parameter;
    }
  }
  ADD_FAILURE() << "no parameter " << name;
  static const ParameterSpec kNone;
  return kNone;
}

// torchvision draws from a normal distribution where we draw uniformly: the same standard deviations.
TEST(Zoo, InitialWeightsHaveTorchvisionsVariances) {
  const auto deviation = [](const Graph& graph, const std::string& name) {
    const Initializer& init = Parameter(graph, name).init;
    return init.kind == Initializer::Kind::kUniform ? init.value / std::sqrt(3.0) : 0;
  };
  const Graph vgg = *Make("vgg11", {3, 224, 224}, 1000);
  EXPECT_NEAR(deviation(vgg, "features.3.weight"), std::sqrt(2.0 / (128 * 9)), 1e-7);  // He, fan-out
  EXPECT_EQ(Parameter(vgg, "features.3.bias").init, Initializer{});
  EXPECT_NEAR(deviation(vgg, "classifier.0.weight"), 0.01, 1e-9);
  EXPECT_EQ(Parameter(vgg, "classifier.6.bias").init, Initializer{});
  const Graph resnet = *Make("resnet18", {3, 224, 224}, 1000);
  EXPECT_NEAR(deviation(resnet, "layer4.0.conv1.weight"), std::sqrt(2.0 / (512 * 9)), 1e-7);
  EXPECT_NEAR(deviation(resnet, "fc.bias"), std::sqrt(1.0 / (3 * 512)), 1e-7);
  const Graph alexnet = *Make("alexnet", {3, 224, 224}, 1000);
  EXPECT_NEAR(deviation(alexnet, "features.3.weight"), std::sqrt(1.0 / (3 * 64 * 25)), 1e-7);
}

TEST(Zoo, DropoutIsAnOption) {
  for (const char* name : {"alexnet", "vgg11", "vgg16"}) {
    const auto model = ZooRegistry::Create("network", name, Options({{"dropout", "0.25"}}));
    ASSERT_TRUE(model.ok()) << model.status();
    int layers = 0;
    for (const LayerSpec& spec : (*model)->Layers({3, 224, 224}, 10)) {
      if (spec.kind != "dropout") continue;
      Options options = spec.options;
      EXPECT_EQ(*options.Number("p", 0, 0, 1), 0.25);
      ++layers;
    }
    EXPECT_EQ(layers, 2) << name;
    EXPECT_EQ(ZooRegistry::Create("network", name, Options({{"dropout", "1.5"}})).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST(Zoo, EveryNetworkRefusesUnknownOptions) {
  for (const std::string& name : ZooRegistry::Names()) {
    const auto model = ZooRegistry::Create("network", name, Options({{"depth", "7"}}));
    ASSERT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(model.status().message()), HasSubstr("depth"));
  }
}

TEST(Zoo, HasTheseNetworks) {
  EXPECT_THAT(ZooRegistry::Names(),
              testing::IsSupersetOf({"alexnet", "lenet5", "resnet18", "resnet20", "resnet32", "resnet34",
                                     "resnet50", "resnet56", "vgg11", "vgg16"}));
}

}  // namespace
}  // namespace tessera::nn
