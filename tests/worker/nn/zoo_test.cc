#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
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

TEST(Zoo, EveryNetworkRefusesUnknownOptions) {
  for (const std::string& name : ZooRegistry::Names()) {
    const auto model = ZooRegistry::Create("network", name, Options({{"depth", "7"}}));
    ASSERT_EQ(model.status().code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(model.status().message()), HasSubstr("depth"));
  }
}

TEST(Zoo, HasTheseNetworks) {
  EXPECT_THAT(ZooRegistry::Names(), testing::IsSupersetOf({"lenet5", "resnet20"}));
}

}  // namespace
}  // namespace tessera::nn
