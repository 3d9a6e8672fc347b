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

TEST(CpuGraphOfLinearLayers, HasNoGradientBelowTheFirst) {
  ExpectAgreement(MakeGraph({Layer("flatten", "rows", {"image"}), Linear("above", "rows", 3)}, {1, 3, 3}), 2);
}

TEST(CpuGraphWithoutWeights, GivesALoss) {
  ExpectAgreement(MakeGraph({Layer("global_avg_pool", "pool", {"image"})}, {3, 4, 4}), 2);
}

INSTANTIATE_TEST_SUITE_P(Channels, CpuGraph, testing::Values(1, 5, 16, 17));

}  // namespace
}  // namespace tessera::cpu
