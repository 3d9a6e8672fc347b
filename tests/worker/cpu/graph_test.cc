// Graphs that make the plan fuse, alias, reorder and share gradients: the cpu executor against the reference.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/worker/cpu/agreement.h"

namespace tessera::cpu {
namespace {

using nn::LayerSpec;
using Inputs = std::vector<std::string>;

LayerSpec Conv(const std::string& name, const std::string& input, int out_channels, int stride = 1) {
  return {.name = name,
          .kind = "conv2d",
          .inputs = {input},
          .options = {{"out_channels", std::to_string(out_channels)},
                      {"kernel", "3"},
                      {"padding", "1"},
                      {"stride", std::to_string(stride)}}};
}

LayerSpec Layer(const std::string& kind, const std::string& name, const Inputs& inputs) {
  return {.name = name, .kind = kind, .inputs = inputs};
}

LayerSpec Linear(const std::string& name, const std::string& input, int out_features) {
  return {.name = name,
          .kind = "linear",
          .inputs = {input},
          .options = {{"out_features", std::to_string(out_features)}}};
}

LayerSpec ShortcutA(const std::string& name, const std::string& input, int out_channels) {
  return {.name = name,
          .kind = "shortcut_a",
          .inputs = {input},
          .options = {{"out_channels", std::to_string(out_channels)}}};
}

LayerSpec MaxPool(const std::string& name, const std::string& input) {
  return {.name = name, .kind = "max_pool", .inputs = {input}, .options = {{"kernel", "2"}}};
}

LayerSpec Dropout(const std::string& name, const std::string& input, const std::string& p = "0.5") {
  return {.name = name, .kind = "dropout", .inputs = {input}, .options = {{"p", p}}};
}

LayerSpec Adaptive(const std::string& name, const std::string& input, const std::string& output) {
  return {.name = name, .kind = "adaptive_avg_pool", .inputs = {input}, .options = {{"output", output}}};
}

LayerSpec AvgPool(const std::string& name, const std::string& input) {
  return {.name = name,
          .kind = "avg_pool",
          .inputs = {input},
          .options = {{"kernel", "3"}, {"stride", "2"}, {"padding", "1"}}};
}

LayerSpec Depthwise(const std::string& name, const std::string& input, int channels) {
  LayerSpec conv = Conv(name, input, channels);
  conv.options.Set("groups", {std::to_string(channels), ""});
  return conv;
}

LayerSpec ResponseNorm(const std::string& name, const std::string& input) {
  return {.name = name,
          .kind = "local_response_norm",
          .inputs = {input},
          .options = {{"size", "5"}, {"alpha", "0.5"}, {"k", "2"}}};
}

// Puts a pooling and a linear layer behind the last one, and compares for several batch sizes.
void ExpectAgreementOf(std::vector<LayerSpec> layers, const Shape& image = {2, 7, 5}) {
  layers.push_back({.name = "pool", .kind = "global_avg_pool"});
  layers.push_back({.name = "above", .kind = "linear", .options = {{"out_features", "3"}}});
  for (int64_t size : {1, 2, 5}) {
    SCOPED_TRACE("batch " + std::to_string(size));
    ExpectAgreement(MakeGraph(layers, image), size);
  }
}

// The number of channels decides on layouts: in blocks of 16, or channels-last.
class CpuGraph : public testing::TestWithParam<int> {
 protected:
  const int channels_ = GetParam();
};

TEST_P(CpuGraph, ReluBehindConvolution) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("relu", "relu", {"conv"})});
}

TEST_P(CpuGraph, ReluWhoseInputIsReadTwice) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("relu", "relu", {"conv"}),
                     Layer("add", "add", {"relu", "conv"})});
}

TEST_P(CpuGraph, ReluBehindBatchNorm) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("batch_norm", "bn", {"conv"}),
                     Layer("relu", "relu", {"bn"}), Conv("conv2", "relu", channels_)});
}

TEST_P(CpuGraph, ReluOfBatchNormThatIsReadTwice) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("batch_norm", "bn", {"conv"}),
                     Layer("relu", "relu", {"bn"}), Conv("left", "relu", channels_),
                     Conv("right", "relu", channels_), Layer("add", "add", {"left", "right"})});
}

TEST_P(CpuGraph, ReluBehindRelu) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("relu", "relu1", {"conv"}),
                     Layer("relu", "relu2", {"relu1"})});
}

TEST_P(CpuGraph, ReluAndBatchNormOfTheImages) {
  ExpectAgreementOf(
      {Layer("relu", "relu", {"image"}), Layer("batch_norm", "bn", {"relu"}), Conv("conv", "bn", channels_)});
}

TEST_P(CpuGraph, ResidualBlock) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("relu", "x", {"conv"}),
                     Conv("conv1", "x", channels_), Layer("batch_norm", "bn1", {"conv1"}),
                     Layer("relu", "relu1", {"bn1"}), Conv("conv2", "relu1", channels_),
                     Layer("batch_norm", "bn2", {"conv2"}), Layer("add", "add", {"bn2", "x"}),
                     Layer("relu", "relu2", {"add"})});
}

TEST_P(CpuGraph, ResidualBlockThatChangesShape) {
  ExpectAgreementOf({Conv("x", "image", channels_), Conv("conv1", "x", 2 * channels_, 2),
                     Layer("batch_norm", "bn1", {"conv1"}), ShortcutA("shortcut", "x", 2 * channels_),
                     Layer("add", "add", {"bn1", "shortcut"}), Layer("relu", "relu", {"add"})});
}

TEST_P(CpuGraph, ResidualBlockWithTheShortcutFirst) {
  ExpectAgreementOf(
      {Conv("x", "image", channels_), Conv("conv1", "x", channels_), Layer("add", "add", {"x", "conv1"})});
}

// The gradient of "add2" could also be that of "z" and "x"; but that of "x" grows before that of "z" is read.
TEST_P(CpuGraph, SharedGradientThatIsReadAfterAnotherGrows) {
  ExpectAgreementOf({Conv("z", "image", channels_), Conv("x", "image", channels_),
                     Conv("conv1", "x", channels_), Layer("add", "add1", {"conv1", "x"}),
                     Layer("add", "add2", {"add1", "z"})});
}

TEST_P(CpuGraph, SharedGradientOfTwoThatBothGrow) {
  ExpectAgreementOf({Conv("z", "image", channels_), Conv("x", "z", channels_), Conv("conv1", "x", channels_),
                     Conv("conv2", "z", channels_), Layer("add", "add1", {"conv1", "x"}),
                     Layer("add", "add2", {"conv2", "z"}), Layer("add", "add3", {"add1", "add2"})});
}

TEST_P(CpuGraph, SumOfATensorWithItself) {
  ExpectAgreementOf({Conv("x", "image", channels_), Layer("add", "thrice", {"x", "x", "x"}),
                     Layer("relu", "relu", {"thrice"})});
}

TEST_P(CpuGraph, SumOfThreeOfWhichOneIsTheImage) {
  ExpectAgreementOf({Conv("x", "image", 2), Conv("y", "x", 2), Layer("add", "add", {"x", "image", "y"}),
                     Layer("relu", "relu", {"add"}), Conv("conv", "relu", channels_)});
}

TEST_P(CpuGraph, SumOfTensorsInDifferentLayouts) {
  ExpectAgreementOf({ShortcutA("wide", "image", channels_), Conv("conv", "image", channels_, 2),
                     Layer("add", "add1", {"wide", "conv"}), Layer("add", "add2", {"conv", "add1"})},
                    {1, 7, 5});
}

TEST_P(CpuGraph, FlattenReadTwice) {
  ExpectAgreement(MakeGraph({Conv("conv", "image", channels_), MaxPool("pool", "conv"),
                             Layer("flatten", "rows", {"pool"}), Linear("left", "rows", 6),
                             Linear("right", "rows", 6), Layer("add", "add", {"left", "right"}),
                             Layer("relu", "relu", {"add"}), Linear("above", "relu", 3)},
                            {1, 6, 7}),
                  4);
}

TEST_P(CpuGraph, FlattenOfASumThatFlowsOn) {
  ExpectAgreement(MakeGraph({Conv("x", "image", channels_), Layer("flatten", "rows1", {"x"}),
                             Layer("relu", "relu", {"x"}), Layer("flatten", "rows2", {"relu"}),
                             Layer("add", "add", {"rows1", "rows2"}), Linear("above", "add", 3)},
                            {3, 4, 5}),
                  3);
}

TEST_P(CpuGraph, ConvolutionWithReluIntoPoolingIntoLinear) {
  ExpectAgreement(MakeGraph({Conv("conv1", "image", channels_), Layer("relu", "relu1", {"conv1"}),
                             MaxPool("pool1", "relu1"), Conv("conv2", "pool1", 2 * channels_),
                             Layer("relu", "relu2", {"conv2"}), MaxPool("pool2", "relu2"),
                             Layer("flatten", "rows", {"pool2"}), Linear("fc1", "rows", 11),
                             Layer("relu", "relu3", {"fc1"}), Linear("fc2", "relu3", 3)},
                            {3, 11, 9}),
                  3);
}

TEST_P(CpuGraph, ReluBehindLayersThatDoNotTakeItOver) {
  ExpectAgreementOf({Conv("conv", "image", channels_), AvgPool("avg", "conv"),
                     Layer("relu", "relu1", {"avg"}), ResponseNorm("norm", "relu1"),
                     Layer("relu", "relu2", {"norm"}), Layer("concat", "both", {"relu1", "relu2"}),
                     Layer("relu", "relu3", {"both"}), Dropout("drop", "relu3"),
                     Layer("relu", "relu4", {"drop"}), Adaptive("pool3", "relu4", "3"),
                     Layer("relu", "relu5", {"pool3"})});
}

TEST_P(CpuGraph, LayersThatPassTheirInputOn) {
  ExpectAgreementOf(
      {Conv("conv", "image", channels_), Layer("relu", "relu1", {"conv"}), Dropout("drop", "relu1", "0"),
       Adaptive("same", "drop", "7"), Layer("relu", "relu2", {"same"}), Conv("conv2", "relu2", channels_)},
      {2, 7, 7});
}

TEST_P(CpuGraph, LayersThatPassTheImageOn) {
  ExpectAgreementOf({Dropout("drop", "image"), Dropout("none", "image", "0"), Adaptive("same", "none", "7"),
                     Layer("add", "add", {"same", "drop", "none"}), Conv("conv", "add", channels_)},
                    {3, 7, 7});
}

TEST_P(CpuGraph, TensorReadByADropoutAndAnother) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("relu", "x", {"conv"}), Dropout("drop", "x"),
                     Conv("conv2", "drop", channels_), Layer("add", "add", {"x", "conv2"}),
                     Layer("relu", "relu", {"add"})});
  ExpectAgreementOf({Conv("x", "image", channels_), Conv("conv2", "x", channels_), Dropout("drop", "x"),
                     Layer("add", "add", {"drop", "conv2", "x"})});
}

TEST_P(CpuGraph, TensorReadByADropoutOfNothingAndAnother) {
  ExpectAgreementOf({Conv("x", "image", channels_), Dropout("none", "x", "0"), Conv("conv2", "x", channels_),
                     Layer("add", "add1", {"none", "conv2"}), Layer("add", "add2", {"add1", "x"}),
                     Layer("add", "add3", {"none", "add2"})});
}

TEST_P(CpuGraph, TensorReadByTwoDropoutsHasTwoMasks) {
  ExpectAgreementOf({Conv("x", "image", channels_), Dropout("left", "x"), Dropout("right", "x", "0.25"),
                     Layer("add", "add", {"left", "right"})});
}

TEST_P(CpuGraph, TensorReadByAConcatenationAndAnother) {
  ExpectAgreementOf({Conv("x", "image", channels_), Conv("y", "x", 5), Layer("concat", "both", {"x", "y"}),
                     Conv("z", "both", channels_), Layer("add", "add", {"z", "x"})});
  ExpectAgreementOf({Conv("x", "image", channels_), Layer("concat", "both", {"x", "image"}),
                     Conv("z", "both", channels_), Layer("concat", "all", {"z", "x", "both"})});
}

TEST_P(CpuGraph, ConcatenationOfATensorWithItself) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("relu", "x", {"conv"}),
                     Layer("concat", "twice", {"x", "x"}), Conv("z", "twice", channels_),
                     Layer("concat", "thrice", {"x", "z", "x"})});
}

TEST_P(CpuGraph, ConcatenationOfPassedOnTensors) {
  ExpectAgreementOf({Conv("x", "image", channels_), Dropout("none", "x", "0"), Adaptive("same", "x", "7"),
                     Layer("concat", "all", {"none", "same", "x"}), Layer("add", "add", {"all", "all"})},
                    {2, 7, 7});
}

TEST_P(CpuGraph, ConcatenationOfTensorsInDifferentLayouts) {
  ExpectAgreementOf({ShortcutA("wide", "image", channels_), Conv("conv", "image", channels_, 2),
                     Layer("concat", "all", {"wide", "conv"}), Layer("batch_norm", "bn", {"all"})},
                    {1, 7, 5});
  ExpectAgreementOf({ShortcutA("wide", "image", channels_), Conv("conv", "image", channels_, 2),
                     Layer("concat", "all", {"conv", "wide"}), Layer("relu", "relu", {"all"})},
                    {1, 7, 5});
}

TEST_P(CpuGraph, ConcatenationThatCutsABlockOfChannels) {
  ExpectAgreementOf({Conv("x", "image", channels_), Conv("y", "image", 5),
                     Layer("concat", "all", {"x", "y", "x"}), Conv("conv", "all", channels_)});
}

TEST_P(CpuGraph, ConcatenationOfRows) {
  ExpectAgreement(
      MakeGraph({Layer("flatten", "rows", {"image"}), Linear("a", "rows", channels_), Linear("b", "rows", 3),
                 Layer("concat", "ab", {"a", "b", "a"}), Dropout("drop", "ab"),
                 Layer("concat", "all", {"drop", "b"}), Linear("above", "all", 3)},
                {2, 3, 4}),
      3);
}

TEST_P(CpuGraph, TensorReadByTwoAdaptivePools) {
  ExpectAgreementOf({Conv("x", "image", channels_), Adaptive("same", "x", "7"), Adaptive("three", "x", "3"),
                     Adaptive("seven", "three", "7"), Layer("add", "add", {"same", "seven", "x"}),
                     Layer("relu", "relu", {"add"})},
                    {2, 7, 7});
}

TEST_P(CpuGraph, DepthwiseSeparableConvolution) {
  ExpectAgreementOf({Conv("conv", "image", channels_), Layer("batch_norm", "bn1", {"conv"}),
                     Layer("relu", "x", {"bn1"}), Depthwise("depthwise", "x", channels_),
                     Layer("batch_norm", "bn2", {"depthwise"}), Layer("relu", "relu2", {"bn2"}),
                     Conv("pointwise", "relu2", channels_), Layer("add", "add", {"pointwise", "x"})});
}

TEST_P(CpuGraph, ResponseNormBetweenConvolutions) {
  ExpectAgreementOf({Conv("conv1", "image", channels_), Layer("relu", "relu", {"conv1"}),
                     ResponseNorm("norm", "relu"), MaxPool("half", "norm"),
                     Conv("conv2", "half", channels_)});
}

// A network of a row and an image, each read by a layer of its own; the image twice.
TEST_P(CpuGraph, TwoInputs) {
  ExpectAgreement(
      MakeGraph({Linear("spectrum", "row", channels_), Layer("relu", "relu", {"spectrum"}),
                 Conv("left", "height", channels_), Conv("right", "height", channels_, 1),
                 Layer("add", "both", {"left", "right"}), Layer("global_avg_pool", "pool", {"both"}),
                 Layer("add", "sum", {"relu", "pool"}), Linear("above", "sum", 3)},
                std::vector<nn::InputSpec>{{"row", {6}}, {"height", {21, 7, 7}}}),
      3);
}

TEST_P(CpuGraph, TwoInputsThatMeetBeforeAnyWeight) {
  ExpectAgreement(MakeGraph({Layer("relu", "relu", {"b"}), Layer("add", "sum", {"relu", "a", "b"}),
                             Conv("conv", "sum", channels_), Layer("flatten", "rows", {"conv"}),
                             Linear("above", "rows", 3)},
                            std::vector<nn::InputSpec>{{"a", {2, 5, 4}}, {"b", {2, 5, 4}}}),
                  2);
}

TEST(CpuGraphOfRows, EveryLayerOfARowStandsOnAnInput) {
  ExpectAgreement(MakeGraph({Layer("relu", "relu", {"a"}), Layer("flatten", "flat", {"b"}),
                             Layer("add", "sum", {"relu", "flat", "a"}), Linear("above", "sum", 3)},
                            std::vector<nn::InputSpec>{{"a", {5}}, {"b", {5}}}),
                  3);
}

TEST(CpuGraphOfLinearLayers, HasNoGradientBelowTheFirst) {
  ExpectAgreement(MakeGraph({Layer("flatten", "rows", {"image"}), Linear("above", "rows", 3)}, {1, 3, 3}), 2);
}

TEST(CpuGraphWithoutWeights, GivesALoss) {
  ExpectAgreement(MakeGraph({Layer("global_avg_pool", "pool", {"image"})}, {3, 4, 4}), 2);
}

INSTANTIATE_TEST_SUITE_P(Channels, CpuGraph, testing::Values(1, 5, 16, 17));

}  // namespace
}  // namespace tessera::cpu
