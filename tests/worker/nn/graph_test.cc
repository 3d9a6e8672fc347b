#include "worker/nn/graph.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace tessera::nn {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

const Shape kImageShape = {1, 8, 8};
constexpr int64_t kClasses = 3;

LayerSpec Conv(const std::string& name, std::vector<std::string> inputs = {}) {
  return {.name = name,
          .kind = "conv2d",
          .inputs = std::move(inputs),
          .options = {{"out_channels", "4"}, {"kernel", "3"}, {"padding", "1"}}};
}

LayerSpec Plain(const std::string& kind, const std::string& name = "", std::vector<std::string> inputs = {}) {
  return {.name = name, .kind = kind, .inputs = std::move(inputs)};
}

LayerSpec Linear(const std::string& name, const std::string& out_features = "3") {
  return {.name = name, .kind = "linear", .options = {{"out_features", out_features}}};
}

absl::StatusOr<Graph> Make(std::vector<LayerSpec> layers) {
  return Graph::Create(std::move(layers), kImageShape, kClasses);
}

std::string ErrorOf(std::vector<LayerSpec> layers, const Shape& image = kImageShape,
                    int64_t classes = kClasses) {
  const absl::StatusOr<Graph> graph = Graph::Create(std::move(layers), image, classes);
  EXPECT_EQ(graph.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(graph.status().message());
}

TEST(Graph, InfersShapesAndAddsTheLoss) {
  const auto graph = Make({Conv("conv"), Plain("batch_norm"), Plain("global_avg_pool"), Linear("fc")});
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_EQ(graph->nodes().size(), 5u);
  EXPECT_EQ(graph->nodes()[0].output, (Shape{4, 8, 8}));
  EXPECT_EQ(graph->nodes()[2].output, Shape{4});
  EXPECT_EQ(graph->nodes()[4].layer->kind(), "softmax_cross_entropy");
  EXPECT_EQ(graph->nodes()[4].output, Shape{});
  EXPECT_THAT(graph->nodes()[0].inputs, ElementsAre(Graph::kImage));
  EXPECT_THAT(graph->nodes()[4].inputs, ElementsAre(3));
  EXPECT_EQ(graph->InputShape(graph->nodes()[0], 0), kImageShape);
  EXPECT_EQ(graph->InputShape(graph->nodes()[4], 0), Shape{3});
}

TEST(Graph, HasOneBlockForTheWeightsAndOneForTheStatisticsOfALayerInNodeOrder) {
  const auto graph = Make({Conv("conv"), Plain("batch_norm", "bn"), Plain("global_avg_pool"), Linear("fc")});
  ASSERT_TRUE(graph.ok()) << graph.status();
  std::vector<std::string> names;
  for (const ParameterBlock& block : graph->blocks()) {
    for (const ParameterSpec& parameter : block.parameters) {
      EXPECT_EQ(parameter.kind, block.kind);
      names.push_back(block.layer + ": " + parameter.name);
    }
  }
  EXPECT_THAT(names,
              ElementsAre("conv: conv.weight", "conv: conv.bias", "bn: bn.weight", "bn: bn.bias",
                          "bn: bn.running_mean", "bn: bn.running_var", "fc: fc.weight", "fc: fc.bias"));
  EXPECT_EQ(graph->nodes()[0].weight_block, 0);
  EXPECT_EQ(graph->nodes()[0].statistic_block, -1);
  EXPECT_EQ(graph->nodes()[1].weight_block, 1);
  EXPECT_EQ(graph->nodes()[1].statistic_block, 2);
  EXPECT_EQ(graph->nodes()[2].weight_block, -1);
  EXPECT_EQ(graph->nodes()[3].weight_block, 3);
  EXPECT_EQ(graph->num_parameters(), 4 * 9 + 4 + 4 + 4 + 4 * 3 + 3);
}

TEST(Graph, NamesNamelessLayersByKindAroundTakenNames) {
  const auto graph =
      Make({Plain("relu"), Plain("relu"), Plain("relu", "relu2"), Plain("flatten"), Linear("fc")});
  ASSERT_TRUE(graph.ok()) << graph.status();
  std::vector<std::string> names;
  for (const Node& node : graph->nodes()) names.push_back(node.name);
  EXPECT_THAT(names, ElementsAre("relu1", "relu3", "relu2", "flatten1", "fc", "softmax_cross_entropy1"));
}

TEST(Graph, ResolvesInputsByName) {
  const auto graph = Make({Conv("a"), Conv("b", {"image"}), Plain("add", "sum", {"a", "b"}), Plain("flatten"),
                           Linear("fc"), Plain("softmax_cross_entropy", "loss")});
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_THAT(graph->nodes()[1].inputs, ElementsAre(Graph::kImage));
  EXPECT_THAT(graph->nodes()[2].inputs, ElementsAre(0, 1));
  EXPECT_EQ(graph->nodes().size(), 6u);
}

// A row of 4 and an image.
std::vector<InputSpec> TwoInputs() { return {{"spectrum", {4}}, {"height", {2, 5, 5}}}; }

// spectrum -> fc; height -> pool -> fc2; their sum is the logits.
std::vector<LayerSpec> TwoBranches() {
  LayerSpec left = Linear("left"), right = Linear("right");
  left.inputs = {"spectrum"};
  right.inputs = {"pool"};
  return {left, Plain("global_avg_pool", "pool", {"height"}), right, Plain("add", "sum", {"left", "right"})};
}

absl::StatusOr<Graph> MakeWith(std::vector<InputSpec> inputs, std::vector<LayerSpec> layers) {
  return Graph::Create(std::move(layers), std::move(inputs), kClasses);
}

std::string ErrorWith(std::vector<InputSpec> inputs, std::vector<LayerSpec> layers = TwoBranches()) {
  const absl::Status status = MakeWith(std::move(inputs), std::move(layers)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  return std::string(status.message());
}

TEST(GraphWithSeveralInputs, LayersReadThemByName) {
  const auto graph = MakeWith(TwoInputs(), TwoBranches());
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->inputs(), TwoInputs());
  EXPECT_THAT(graph->nodes()[0].inputs, ElementsAre(-1));
  EXPECT_THAT(graph->nodes()[1].inputs, ElementsAre(-2));
  EXPECT_EQ(graph->InputShape(graph->nodes()[0], 0), Shape{4});
  EXPECT_EQ(graph->InputShape(graph->nodes()[1], 0), (Shape{2, 5, 5}));
  EXPECT_EQ(graph->num_parameters(), 4 * 3 + 3 + 2 * 3 + 3);
}

TEST(GraphWithSeveralInputs, AFirstLayerWithoutInputsTakesTheFirst) {
  std::vector<LayerSpec> layers = TwoBranches();
  layers[0].inputs.clear();
  const auto graph = MakeWith(TwoInputs(), layers);
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_THAT(graph->nodes()[0].inputs, ElementsAre(-1));
}

TEST(GraphWithSeveralInputs, ANetworkOfOneInputHasItUnderTheNameImage) {
  const auto graph = Make({Plain("flatten"), Linear("fc")});
  ASSERT_TRUE(graph.ok()) << graph.status();
  EXPECT_EQ(graph->inputs(), (std::vector<InputSpec>{{"image", kImageShape}}));
}

TEST(GraphErrors, AnInputThatNoLayerUsesIsNamed) {
  LayerSpec fc = Linear("fc");
  fc.inputs = {"spectrum"};
  EXPECT_EQ(ErrorWith(TwoInputs(), {fc}), "no layer uses the input `height`; name it in a layer's `inputs`");
}

TEST(GraphErrors, AMisspeltInputNamesTheNearest) {
  std::vector<LayerSpec> layers = TwoBranches();
  layers[1].inputs = {"heigth"};
  EXPECT_EQ(ErrorWith(TwoInputs(), layers),
            "layer `pool`: input `heigth` is not an earlier layer; did you mean `height`?");
  // The one input of images is not there under its usual name either.
  EXPECT_THAT(ErrorWith(TwoInputs(), {Conv("conv", {"image"})}), HasSubstr("input `image`"));
}

TEST(GraphErrors, InputsHaveShapesAndNamesOfTheirOwn) {
  EXPECT_EQ(ErrorWith({}), "the network has no input");
  EXPECT_EQ(ErrorWith({{"spectrum", {4}}, {"spectrum", {4}}}), "two inputs are named `spectrum`");
  EXPECT_EQ(ErrorWith({{"spectrum", {4, 5}}}),
            "input `spectrum` is not [C,H,W] or [F] with positive sizes, but [4,5]");
  EXPECT_THAT(ErrorWith({{"spectrum", {0}}}), HasSubstr("[0]"));
  EXPECT_THAT(ErrorWith({{"spectrum", {}}}), HasSubstr("[]"));
  EXPECT_THAT(ErrorWith({{"", {4}}}), HasSubstr("a name consists of"));
  EXPECT_THAT(ErrorWith({{"a b", {4}}}), HasSubstr("a name consists of"));
  EXPECT_EQ(ErrorWith(TwoInputs(), {Conv("height")}),
            "layer `height`: `height` is the name of the network's input");
}

TEST(GraphErrors, TheLossNeedsALayerBeforeIt) {
  EXPECT_EQ(ErrorWith({{"logits", {3}}}, {Plain("softmax_cross_entropy", "loss")}),
            "layer `loss`: the loss needs a layer before it");
}

TEST(GraphErrors, ShapesThatCannotAgreeNamePositionAndLayer) {
  LayerSpec conv = Conv("conv2");
  conv.options = {{"out_channels", "4"}, {"kernel", "9"}};
  conv.where = "job.yaml:20:7";
  EXPECT_EQ(ErrorOf({Conv("conv1"), conv, Plain("flatten"), Linear("fc")}),
            "job.yaml:20:7: layer `conv2`: kernel 9 does not fit its input [4,8,8]");
}

TEST(GraphErrors, WithoutPositionTheLayerIsNamed) {
  EXPECT_EQ(ErrorOf({Conv("conv"), Linear("fc")}),
            "layer `fc`: needs a row [F] as input, not [4,8,8]; put a `flatten` before it");
}

TEST(GraphErrors, OptionErrorsNameTheOptionsPositionAndTheLayer) {
  LayerSpec conv{.name = "conv2", .kind = "conv2d", .where = "job.yaml:20:7"};
  conv.options.Set("kernal", {std::string("5"), "job.yaml:21:9"});
  conv.options.Set("out_channels", {std::string("5"), "job.yaml:22:9"});
  conv.options.set_where("job.yaml:20:7");
  EXPECT_EQ(ErrorOf({conv}), "job.yaml:20:7: layer `conv2`: missing `kernel`");
  conv.options.Set("kernel", {std::string("5"), "job.yaml:23:9"});
  EXPECT_THAT(ErrorOf({conv}), StartsWith("job.yaml:21:9: layer `conv2`: "));
  EXPECT_THAT(ErrorOf({conv}), HasSubstr("did you mean `kernel`?"));
}

TEST(GraphErrors, UnknownKindNamesTheNearest) {
  LayerSpec spec = Plain("conv2", "first");
  spec.where = "job.yaml:20:7";
  const std::string error = ErrorOf({spec});
  EXPECT_THAT(error, StartsWith("job.yaml:20:7: layer `first`: unknown layer type `conv2`"));
  EXPECT_THAT(error, HasSubstr("did you mean `conv2d`?"));
}

TEST(GraphErrors, UnknownOrLaterInputNamesTheNearest) {
  EXPECT_EQ(ErrorOf({Conv("conv1"), Conv("conv2", {"conv"})}),
            "layer `conv2`: input `conv` is not an earlier layer; did you mean `conv1`?");
  EXPECT_EQ(ErrorOf({Conv("alpha", {"omega"}), Conv("omega")}),
            "layer `alpha`: input `omega` is not an earlier layer");
}

TEST(GraphErrors, NamesAreUniqueAndPlain) {
  EXPECT_EQ(ErrorOf({Conv("conv"), Conv("conv")}), "layer `conv`: the name is used twice");
  EXPECT_THAT(ErrorOf({Conv("a b")}), HasSubstr("a name consists of"));
  EXPECT_EQ(ErrorOf({Conv("image")}), "layer `image`: `image` is the name of the network's input");
}

TEST(GraphErrors, OutputThatIsNotTheClassesNamesTheLastLayer) {
  LayerSpec fc = Linear("fc", "5");
  fc.where = "job.yaml:30:5";
  EXPECT_EQ(
      ErrorOf({Plain("flatten"), fc}),
      "job.yaml:30:5: layer `fc`: the network's output is [5], but the data has 3 classes and needs [3]");
  EXPECT_THAT(ErrorOf({Conv("conv")}), StartsWith("layer `conv`: the network's output is [4,8,8]"));
}

TEST(GraphErrors, EveryOutputIsUsed) {
  EXPECT_EQ(ErrorOf({Conv("dead"), Plain("flatten", "flat", {"image"}), Linear("fc")}),
            "layer `dead`: no layer uses its output");
}

TEST(GraphErrors, TheLossIsLastAndOccursOnce) {
  EXPECT_EQ(ErrorOf({Plain("flatten"), Linear("fc"), Plain("softmax_cross_entropy", "loss"), Linear("fc2")}),
            "layer `fc2`: needs a row [F] as input, not []");
  EXPECT_EQ(ErrorOf({Plain("flatten"), Linear("fc"), Plain("softmax_cross_entropy", "loss"),
                     Plain("softmax_cross_entropy", "again", {"fc"})}),
            "layer `loss`: the loss is the last layer and occurs once");
}

TEST(GraphErrors, ANetworkHasLayersAnImageAndClasses) {
  EXPECT_EQ(ErrorOf({}), "the network has no layers");
  EXPECT_THAT(ErrorOf({Linear("fc")}, {784}), HasSubstr("images are [C,H,W]"));
  EXPECT_THAT(ErrorOf({Linear("fc")}, {1, 0, 8}), HasSubstr("[1,0,8]"));
  EXPECT_THAT(ErrorOf({Linear("fc")}, kImageShape, 0), HasSubstr("classes"));
}

}  // namespace
}  // namespace tessera::nn
