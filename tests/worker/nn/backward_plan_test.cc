#include "worker/nn/backward_plan.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tessera::nn {
namespace {

LayerSpec Spec(const std::string& name, const std::string& kind, std::vector<std::string> inputs = {},
               Options options = {}) {
  return {.name = name, .kind = kind, .inputs = std::move(inputs), .options = std::move(options)};
}

Graph Make(std::vector<LayerSpec> layers) {
  layers.push_back(Spec("flat", "flatten"));
  layers.push_back(Spec("fc", "linear", {}, {{"out_features", "2"}}));
  return *Graph::Create(std::move(layers), {2, 4, 4}, 2);
}

const Options kSameSize = {{"out_channels", "2"}, {"kernel", "1"}};

TEST(BackwardPlan, WhatLiesBelowTheFirstWeightsGetsNoGradient) {
  // relu, conv, flatten, linear, loss
  const Graph graph = Make({Spec("relu", "relu"), Spec("conv", "conv2d", {}, kSameSize)});
  const BackwardPlan plan(graph);
  EXPECT_FALSE(plan.NeedsGradient(0));
  for (int node = 1; node < 5; ++node) EXPECT_TRUE(plan.NeedsGradient(node)) << node;
  EXPECT_EQ(plan.InputGradient(0, 0), GradientWrite::kSkip);
  EXPECT_EQ(plan.InputGradient(1, 0), GradientWrite::kSkip);
  EXPECT_EQ(plan.InputGradient(2, 0), GradientWrite::kStore);
  EXPECT_EQ(plan.InputGradient(4, 0), GradientWrite::kStore);
}

TEST(BackwardPlan, TheLastUserStoresAndEarlierOnesAdd) {
  // 0 conv, 1 relu, 2 conv2, 3 add(conv2, relu), 4 add(add, relu, relu), ...
  const Graph graph = Make({Spec("conv", "conv2d", {}, kSameSize), Spec("relu", "relu"),
                            Spec("conv2", "conv2d", {}, kSameSize), Spec("a", "add", {"conv2", "relu"}),
                            Spec("b", "add", {"a", "relu", "relu"})});
  const BackwardPlan plan(graph);
  EXPECT_EQ(plan.InputGradient(4, 0), GradientWrite::kStore);
  EXPECT_EQ(plan.InputGradient(4, 1), GradientWrite::kStore);
  EXPECT_EQ(plan.InputGradient(4, 2), GradientWrite::kAdd);
  EXPECT_EQ(plan.InputGradient(3, 0), GradientWrite::kStore);
  EXPECT_EQ(plan.InputGradient(3, 1), GradientWrite::kAdd);
  EXPECT_EQ(plan.InputGradient(2, 0), GradientWrite::kAdd);
  EXPECT_EQ(plan.InputGradient(1, 0), GradientWrite::kStore);
  EXPECT_EQ(plan.Uses(1), 4);
  EXPECT_EQ(plan.Uses(2), 1);
  EXPECT_EQ(plan.LastUse(1), 4);
  EXPECT_EQ(plan.LastUse(0), 1);
  EXPECT_EQ(plan.LastUse(7), 7);
  EXPECT_EQ(plan.Uses(7), 0);
}

TEST(BackwardPlan, NoInputOfTheNetworkGetsAGradient) {
  // 0 left of the row, 1 pool of the image, 2 right of the pool, 3 add, 4 loss
  const Graph graph = *Graph::Create(
      {Spec("left", "linear", {"row"}, {{"out_features", "2"}}), Spec("pool", "global_avg_pool", {"other"}),
       Spec("right", "linear", {"pool"}, {{"out_features", "2"}}),
       Spec("sum", "add", {"left", "right", "two"})},
      {{"row", {3}}, {"other", {2, 4, 4}}, {"two", {2}}}, 2);
  const BackwardPlan plan(graph);
  EXPECT_EQ(plan.InputGradient(0, 0), GradientWrite::kSkip);
  EXPECT_FALSE(plan.NeedsGradient(1));
  EXPECT_EQ(plan.InputGradient(2, 0), GradientWrite::kSkip);
  EXPECT_EQ(plan.InputGradient(3, 0), GradientWrite::kStore);
  EXPECT_EQ(plan.InputGradient(3, 1), GradientWrite::kStore);
  EXPECT_EQ(plan.InputGradient(3, 2), GradientWrite::kSkip);
}

TEST(BackwardPlan, ABranchWithoutWeightsIsSkipped) {
  // 0 conv, 1 relu of the image, 2 add(conv, relu), ...
  const Graph graph = Make({Spec("conv", "conv2d", {}, kSameSize), Spec("relu", "relu", {"image"}),
                            Spec("sum", "add", {"conv", "relu"})});
  const BackwardPlan plan(graph);
  EXPECT_FALSE(plan.NeedsGradient(1));
  EXPECT_EQ(plan.InputGradient(2, 0), GradientWrite::kStore);
  EXPECT_EQ(plan.InputGradient(2, 1), GradientWrite::kSkip);
}

}  // namespace
}  // namespace tessera::nn
