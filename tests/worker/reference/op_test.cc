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

}  // namespace
}  // namespace tessera::reference
