// Values of reference ops computed by hand, where a gradient check alone would accept a wrong function.
#include "worker/reference/op.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "worker/nn/layer.h"

namespace tessera::reference {
namespace {

using testing::ElementsAre;
using testing::FloatEq;
using testing::FloatNear;
using testing::Pointwise;
using Values = std::vector<float>;

struct OpResult {
  Values output, statistics, input_gradient, weight_gradient;
};

struct Setting {
  std::string kind;
  Options options;
  Shape input;
  int64_t batch = 1;
  Values x, weights = {}, running = {};
  std::vector<int32_t> labels = {};
  Values output_gradient = {};  // empty: forward alone
  bool training = true;
};

OpResult RunOp(const Setting& s) {
  std::shared_ptr<const nn::Layer> layer = *nn::LayerRegistry::Create("layer", s.kind, s.options);
  const Shape output = layer->Infer({s.input})->output;
  const auto op = *OpRegistry<float>::Create("op", s.kind, OpNode{layer, {s.input}, output});
  const float nan = std::numeric_limits<float>::quiet_NaN();
  OpResult run;
  run.output.assign((output.empty() ? 1 : s.batch) * NumElements(output), nan);
  if (s.kind == "batch_norm") run.statistics.assign(2 * s.input[0], nan);
  op->Forward({s.batch,
               s.training,
               {s.x},
               s.weights,
               s.running,
               s.labels,
               absl::MakeSpan(run.output),
               absl::MakeSpan(run.statistics)});
  if (s.output_gradient.empty()) return run;
  run.input_gradient.assign(s.x.size(), nan);
  run.weight_gradient.assign(s.weights.size(), nan);
  op->Backward({s.batch,
                {s.x},
                s.weights,
                s.labels,
                s.output_gradient,
                {absl::MakeSpan(run.input_gradient)},
                absl::MakeSpan(run.weight_gradient)});
  return run;
}

TEST(Conv2dOp, CorrelatesWithoutFlippingTheKernel) {
  const OpResult run = RunOp({.kind = "conv2d",
                              .options = {{"out_channels", "1"}, {"kernel", "2"}},
                              .input = {1, 2, 3},
                              .x = {1, 2, 3, 4, 5, 6},
                              .weights = {1, 10, 100, 1000, 0.5f}});
  EXPECT_THAT(run.output, ElementsAre(5421.5f, 6532.5f));
}

TEST(Conv2dOp, PadsWithZerosOnAllSides) {
  const OpResult run =
      RunOp({.kind = "conv2d",
             .options = {{"out_channels", "1"}, {"kernel", "3"}, {"padding", "1"}, {"bias", "false"}},
             .input = {1, 1, 2},
             .x = {1, 2},
             .weights = {9, 9, 9, 1, 10, 100, 9, 9, 9}});
  EXPECT_THAT(run.output, ElementsAre(210, 21));
}

TEST(LinearOp, MultipliesByRowsOfTheWeight) {
  const OpResult run = RunOp({.kind = "linear",
                              .options = {{"out_features", "2"}},
                              .input = {2},
                              .batch = 2,
                              .x = {1, 2, 3, 4},
                              .weights = {1, 10, 2, 20, 0.5f, 0.25f}});
  EXPECT_THAT(run.output, ElementsAre(21.5f, 42.25f, 43.5f, 86.25f));
}

TEST(BatchNormOp, GivesBatchMeanAndUnbiasedVarianceAndNormalisesByTheBiasedOne) {
  const OpResult run = RunOp({.kind = "batch_norm",
                              .options = {{"eps", "1e-12"}},
                              .input = {1, 1, 2},
                              .batch = 2,
                              .x = {1, 2, 3, 6},
                              .weights = {2, 10}});
  EXPECT_THAT(run.statistics, ElementsAre(FloatEq(3), FloatEq(14.0f / 3)));
  const float std = std::sqrt(14.0f / 4);
  const Values expected = {10 - 4 / std, 10 - 2 / std, 10, 10 + 6 / std};
  EXPECT_THAT(run.output, Pointwise(FloatNear(1e-5f), expected));
}

TEST(BatchNormOp, UsesRunningStatisticsInEvaluation) {
  const OpResult run = RunOp({.kind = "batch_norm",
                              .options = {{"eps", "1e-12"}},
                              .input = {1, 1, 2},
                              .x = {1, 7},
                              .weights = {2, 10},
                              .running = {3, 4},
                              .training = false});
  EXPECT_THAT(run.output, ElementsAre(FloatEq(8), FloatEq(14)));
}

TEST(BatchNormOp, ASingleElementHasNoVariance) {
  const OpResult run =
      RunOp({.kind = "batch_norm", .options = {}, .input = {1, 1, 1}, .x = {5}, .weights = {2, 10}});
  EXPECT_THAT(run.output, ElementsAre(10));
  EXPECT_THAT(run.statistics, ElementsAre(5, 0));
}

TEST(ReluOp, GradientAtZeroIsZeroAndNanIsNotHidden) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const OpResult run = RunOp(
      {.kind = "relu", .options = {}, .input = {4}, .x = {-1, 0, 2, nan}, .output_gradient = {7, 7, 7, 7}});
  EXPECT_THAT(run.output, ElementsAre(0, 0, 2, testing::IsNan()));
  EXPECT_THAT(run.input_gradient, ElementsAre(0, 0, 7, 7));
}

TEST(MaxPoolOp, TheFirstOfEqualMaximaGetsTheGradient) {
  const OpResult run = RunOp({.kind = "max_pool",
                              .options = {{"kernel", "2"}},
                              .input = {1, 2, 2},
                              .x = {1, 3, 3, 3},
                              .output_gradient = {7}});
  EXPECT_THAT(run.output, ElementsAre(3));
  EXPECT_THAT(run.input_gradient, ElementsAre(0, 7, 0, 0));
}

TEST(MaxPoolOp, PaddingIsNeverTheMaximum) {
  const OpResult run = RunOp({.kind = "max_pool",
                              .options = {{"kernel", "2"}, {"padding", "1"}},
                              .input = {1, 2, 2},
                              .x = {-1, -2, -3, -4}});
  EXPECT_THAT(run.output, ElementsAre(-1, -2, -3, -4));
}

TEST(MaxPoolOp, OverlappingWindowsAddTheirGradients) {
  const OpResult run = RunOp({.kind = "max_pool",
                              .options = {{"kernel", "2"}, {"stride", "1"}},
                              .input = {1, 2, 3},
                              .x = {0, 9, 0, 0, 0, 0},
                              .output_gradient = {1, 10}});
  EXPECT_THAT(run.input_gradient, ElementsAre(0, 11, 0, 0, 0, 0));
}

TEST(MaxPoolOp, NanIsNotHidden) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (size_t place = 0; place < 4; ++place) {
    Values x = {1, 2, 3, 4};
    x[place] = nan;
    const OpResult run =
        RunOp({.kind = "max_pool", .options = {{"kernel", "2"}}, .input = {1, 2, 2}, .x = x});
    EXPECT_THAT(run.output, ElementsAre(testing::IsNan())) << place;
  }
}

// Here and below, "as PyTorch" are numbers of torch 1.13 for the same module, input and output gradient.
TEST(Conv2dOp, GroupsAndHolesAsPyTorch) {
  Values x(48);
  for (int i = 0; i < 48; ++i) x[i] = static_cast<float>(7 * i % 11 - 5);
  const OpResult run =
      RunOp({.kind = "conv2d",
             .options = {{"out_channels", "2"}, {"kernel", "2"}, {"groups", "2"}, {"dilation", "2"}},
             .input = {4, 3, 4},
             .x = x,
             .weights = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0.5f, -1},
             .output_gradient = {1, 2, 3, 4}});
  EXPECT_THAT(run.output, ElementsAre(-3.5f, 6.5f, -80, 114));
  const Values dx = {1,  2,  2,  4,  0, 0, 0, 0, 3,  6,  4,  8,  5,  10, 6,  12, 0, 0, 0, 0, 7,  14, 8,  16,
                     27, 36, 30, 40, 0, 0, 0, 0, 33, 44, 36, 48, 39, 52, 42, 56, 0, 0, 0, 0, 45, 60, 48, 64};
  EXPECT_EQ(run.input_gradient, dx);
  EXPECT_THAT(run.weight_gradient,
              ElementsAre(-1, 8, 2, -11, -2, 7, 1, -1, 14, -9, -23, -2, 19, 7, -7, 14, 3, 7));
}

TEST(Conv2dOp, DepthwiseWithTwoFiltersOfOneRowAsPyTorch) {
  Options options = {{"out_channels", "4"}, {"groups", "2"}, {"bias", "false"}};
  options.Set("kernel", {std::vector<std::string>{"1", "2"}, ""});
  const OpResult run = RunOp({.kind = "conv2d",
                              .options = options,
                              .input = {2, 2, 2},
                              .x = {1, 2, 3, 4, 5, 6, 7, 8},
                              .weights = {1, 2, 3, 4, 5, 6, 7, 8},
                              .output_gradient = {1, 2, 3, 4, 5, 6, 7, 8}});
  EXPECT_THAT(run.output, ElementsAre(5, 11, 11, 25, 61, 83, 83, 113));
  EXPECT_THAT(run.input_gradient, ElementsAre(10, 14, 14, 20, 74, 86, 86, 100));
  EXPECT_THAT(run.weight_gradient, ElementsAre(7, 10, 15, 22, 67, 78, 91, 106));
}

OpResult AveragePaddedImage(const char* count_include_pad) {
  return RunOp({.kind = "avg_pool",
                .options = {{"kernel", "2"}, {"padding", "1"}, {"count_include_pad", count_include_pad}},
                .input = {1, 3, 3},
                .x = {1, 2, 3, 4, 5, 6, 7, 8, 9},
                .output_gradient = {1, 10, 100, 1000}});
}

TEST(AvgPoolOp, PaddingCountsAsPyTorch) {
  const OpResult run = AveragePaddedImage("true");
  EXPECT_THAT(run.output, ElementsAre(0.25f, 1.25f, 2.75f, 7));
  EXPECT_THAT(run.input_gradient, ElementsAre(0.25f, 2.5f, 2.5f, 25, 250, 250, 25, 250, 250));
}

TEST(AvgPoolOp, PaddingDoesNotCountWhereAskedAsPyTorch) {
  const OpResult run = AveragePaddedImage("false");
  EXPECT_THAT(run.output, ElementsAre(1, 2.5f, 5.5f, 7));
  EXPECT_THAT(run.input_gradient, ElementsAre(1, 5, 5, 50, 250, 250, 50, 250, 250));
}

TEST(AdaptiveAvgPoolOp, FiveToThreeAsPyTorch) {
  const OpResult run =
      RunOp({.kind = "adaptive_avg_pool",
             .options = {{"output", "3"}},
             .input = {1, 5, 5},
             .x = {0, 1, 4, 9, 16, 8, 2, 15, 13, 13, 15, 2, 8, 16, 9, 4, 1, 0, 1, 4, 9, 16, 8, 2, 15},
             .output_gradient = {1, 2, 3, 4, 5, 6, 7, 8, 9}});
  const Values y = {2.75f, 7.3333335f, 12.75f, 5.3333335f, 6.4444447f, 9.333333f, 7.5f, 4.6666665f, 5.5f};
  EXPECT_THAT(run.output, Pointwise(FloatNear(1e-6f), y));
  const Values dx = {0.25f,      0.5833334f, 0.3333333f, 1.0833334f, 0.75f,      0.9166667f, 1.8055556f,
                     0.8888888f, 2.6388888f, 1.75f,      0.6666667f, 1.2222222f, 0.5555555f, 1.5555556f,
                     1,          2.4166667f, 4.3055558f, 1.8888888f, 5.1388888f, 3.25f,      1.75f,
                     3.0833335f, 1.3333334f, 3.5833335f, 2.25f};
  EXPECT_THAT(run.input_gradient, Pointwise(FloatNear(1e-6f), dx));
}

TEST(AdaptiveAvgPoolOp, OneToSevenAsPyTorch) {
  Options options;
  options.Set("output", {std::vector<std::string>{"7", "1"}, ""});
  const OpResult run = RunOp({.kind = "adaptive_avg_pool",
                              .options = options,
                              .input = {2, 1, 1},
                              .x = {3, -2},
                              .output_gradient = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}});
  EXPECT_THAT(run.output, ElementsAre(3, 3, 3, 3, 3, 3, 3, -2, -2, -2, -2, -2, -2, -2));
  EXPECT_THAT(run.input_gradient, ElementsAre(28, 77));
}

TEST(AdaptiveAvgPoolOp, MoreRowsAndFewerColumnsAsPyTorch) {
  Options options;
  options.Set("output", {std::vector<std::string>{"3", "2"}, ""});
  const OpResult run = RunOp({.kind = "adaptive_avg_pool",
                              .options = options,
                              .input = {1, 2, 3},
                              .x = {1, 2, 3, 4, 5, 6},
                              .output_gradient = {1, 10, 100, 1000, 10000, 100000}});
  EXPECT_THAT(run.output, ElementsAre(1.5f, 2.5f, 3, 4, 4.5f, 5.5f));
  EXPECT_THAT(run.input_gradient, ElementsAre(25.5f, 280.5f, 255, 5025, 55275, 50250));
}

OpResult Normalize(const Options& options) {
  return RunOp({.kind = "local_response_norm",
                .options = options,
                .input = {5, 1, 2},
                .x = {1, -2, 3, 0.5f, -1, 2, 4, 1, -3, 0.25f},
                .output_gradient = {1, 2, -1, 0.5f, 3, 1, -2, 1, 0.5f, 1}});
}

TEST(LocalResponseNormOp, OfAnOddWindowAsPyTorch) {
  const OpResult run = Normalize({{"size", "3"}, {"alpha", "0.6"}, {"beta", "0.75"}, {"k", "2"}});
  const Values y = {0.3535534f, -0.9117932f, 1.0225494f, 0.1893435f,  -0.2275101f,
                    0.8665729f, 0.9100403f,  0.4373254f, -0.6971043f, 0.137809f};
  const Values dx = {0.4000761f, 0.5434427f, -0.1159653f, 0.2388128f,  0.5052155f,
                     0.1601484f, 0.0218334f, 0.2898517f,  -0.1561399f, 0.5356766f};
  EXPECT_THAT(run.output, Pointwise(FloatNear(1e-6f), y));
  EXPECT_THAT(run.input_gradient, Pointwise(FloatNear(1e-6f), dx));
}

TEST(LocalResponseNormOp, OfAnEvenWindowAsPyTorch) {
  const OpResult run = Normalize({{"size", "4"}, {"alpha", "2"}, {"beta", "0.5"}});
  const Values y = {0.4082483f, -1.1313709f, 1.1766968f, 0.220863f,   -0.2626128f,
                    0.8432741f, 0.9299811f,  0.5229764f, -0.8017837f, 0.133038f};
  const Values dx = {0.4919096f, 0.5787565f,  0.0095593f, 0.3232576f,  0.6055697f,
                     0.0694632f, -0.0979759f, 0.3576633f, -0.0601298f, 0.5095632f};
  EXPECT_THAT(run.output, Pointwise(FloatNear(1e-6f), y));
  EXPECT_THAT(run.input_gradient, Pointwise(FloatNear(1e-6f), dx));
}

TEST(ConcatOp, JoinsEachSampleInTheOrderOfTheInputs) {
  std::shared_ptr<const nn::Layer> layer = *nn::LayerRegistry::Create("layer", "concat", Options());
  const std::vector<Shape> shapes = {{1, 1, 2}, {2, 1, 2}};
  const auto op = *OpRegistry<float>::Create("op", "concat", OpNode{layer, shapes, {3, 1, 2}});
  const Values a = {1, 2, 3, 4}, b = {10, 20, 30, 40, 50, 60, 70, 80};
  Values output(12), da(4), db(8);
  op->Forward({.batch = 2, .inputs = {a, b}, .output = absl::MakeSpan(output)});
  EXPECT_THAT(output, ElementsAre(1, 2, 10, 20, 30, 40, 3, 4, 50, 60, 70, 80));
  op->Backward({.batch = 2,
                .inputs = {a, b},
                .output_gradient = output,
                .input_gradients = {absl::MakeSpan(da), absl::MakeSpan(db)}});
  EXPECT_EQ(da, a);
  EXPECT_EQ(db, b);
}

TEST(DropoutOp, ScalesWhatItKeepsAndDropsTheGradientOfTheRest) {
  const OpResult run = RunOp({.kind = "dropout",
                              .options = {{"p", "0.75"}},
                              .input = {64},
                              .x = Values(64, 3),
                              .output_gradient = Values(64, 5)});
  EXPECT_THAT(run.output, testing::Each(testing::AnyOf(0, 12)));
  EXPECT_THAT(run.output, testing::Contains(0));
  EXPECT_THAT(run.output, testing::Contains(12));
  for (size_t i = 0; i < 64; ++i) EXPECT_EQ(run.input_gradient[i], run.output[i] == 0 ? 0 : 20) << i;
}

TEST(DropoutOp, DoesNothingInEvaluation) {
  const OpResult run =
      RunOp({.kind = "dropout", .options = {}, .input = {3}, .x = {1, 2, 3}, .training = false});
  EXPECT_THAT(run.output, ElementsAre(1, 2, 3));
}

TEST(DropoutOp, NanIsNotHidden) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const OpResult run =
      RunOp({.kind = "dropout", .options = {{"p", "0.9"}}, .input = {40}, .x = Values(40, nan)});
  EXPECT_THAT(run.output, testing::Each(testing::IsNan()));
}

TEST(ShortcutAOp, TakesEverySecondPixelAndPutsItsChannelsInTheMiddle) {
  const OpResult run = RunOp({.kind = "shortcut_a",
                              .options = {{"out_channels", "4"}, {"stride", "2"}},
                              .input = {1, 3, 3},
                              .x = {1, 2, 3, 4, 5, 6, 7, 8, 9},
                              .output_gradient = {9, 9, 9, 9, 10, 20, 30, 40, 9, 9, 9, 9, 9, 9, 9, 9}});
  EXPECT_THAT(run.output, ElementsAre(0, 0, 0, 0, 1, 3, 7, 9, 0, 0, 0, 0, 0, 0, 0, 0));
  EXPECT_THAT(run.input_gradient, ElementsAre(10, 0, 20, 0, 0, 0, 30, 0, 40));
}

TEST(SoftmaxCrossEntropyOp, IsTheMeanOverTheBatchAndDoesNotOverflow) {
  const OpResult run = RunOp({.kind = "softmax_cross_entropy",
                              .options = {},
                              .input = {2},
                              .batch = 2,
                              .x = {1000, 1000, 0, std::log(3.0f)},
                              .labels = {0, 1},
                              .output_gradient = {1}});
  EXPECT_THAT(run.output, ElementsAre(FloatEq((std::log(2.0f) + std::log(4.0f / 3)) / 2)));
  EXPECT_THAT(run.input_gradient,
              Pointwise(FloatNear(1e-7f), std::vector<float>{-0.25f, 0.25f, 0.125f, -0.125f}));
}

TEST(SoftmaxCrossEntropyOp, SmoothsLabelsAsPyTorch) {
  const OpResult run = RunOp({.kind = "softmax_cross_entropy",
                              .options = {{"label_smoothing", "0.1"}},
                              .input = {3},
                              .batch = 2,
                              .x = {1, 2, -1, 0, 0.5f, 3},
                              .labels = {1, 0},
                              .output_gradient = {1}});
  EXPECT_THAT(run.output, ElementsAre(FloatEq(1.7447759f)));
  const Values dx = {0.1130816f, -0.1139744f, 0.0008928f, -0.4446734f, 0.0195941f, 0.4250794f};
  EXPECT_THAT(run.input_gradient, Pointwise(FloatNear(1e-7f), dx));
}

}  // namespace
}  // namespace tessera::reference
