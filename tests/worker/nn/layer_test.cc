// Shapes, parameters and errors of every layer.
#include "worker/nn/layer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "tests/worker/nn/layer_cases.h"

namespace tessera::nn {
namespace {

using testing::HasSubstr;

absl::StatusOr<LayerShape> Infer(const std::string& kind, const Options& options, std::vector<Shape> inputs) {
  auto layer = LayerRegistry::Create("layer type", kind, options);
  if (!layer.ok()) return layer.status();
  EXPECT_EQ((*layer)->kind(), kind);
  return (*layer)->Infer(inputs);
}

Shape OutputOf(const std::string& kind, const Options& options, std::vector<Shape> inputs) {
  const auto shape = Infer(kind, options, std::move(inputs));
  EXPECT_TRUE(shape.ok()) << shape.status();
  return shape.ok() ? shape->output : Shape{-1};
}

std::string ErrorOf(const std::string& kind, const Options& options, std::vector<Shape> inputs) {
  const auto shape = Infer(kind, options, std::move(inputs));
  EXPECT_EQ(shape.status().code(), absl::StatusCode::kInvalidArgument) << kind;
  return std::string(shape.status().message());
}

class EveryLayer : public testing::TestWithParam<std::string> {
 protected:
  const LayerCase case_ = LayerCases().at(GetParam()).at(0);
};

TEST_P(EveryLayer, RefusesAnUnknownOption) {
  Options options = case_.options;
  options.Set("colour", {std::string("red"), "job.yaml:3:4"});
  const auto layer = LayerRegistry::Create("layer type", GetParam(), options);
  ASSERT_EQ(layer.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(layer.status().message()), HasSubstr("job.yaml:3:4"));
  EXPECT_THAT(std::string(layer.status().message()), HasSubstr("colour"));
  EXPECT_THAT(std::string(layer.status().message()), HasSubstr(GetParam()));
}

TEST_P(EveryLayer, RefusesAWrongNumberOfInputs) {
  EXPECT_THAT(ErrorOf(GetParam(), case_.options, {}), HasSubstr("not 0"));
  if (GetParam() != "add" && GetParam() != "concat") {
    EXPECT_EQ(ErrorOf(GetParam(), case_.options, {case_.inputs[0], case_.inputs[0]}), "takes 1 input, not 2");
  }
}

TEST_P(EveryLayer, RefusesInputsOfAnotherRank) {
  const std::set<std::string> take_any_shape = {"add", "concat", "relu", "flatten", "dropout"};
  if (take_any_shape.count(GetParam()) > 0) return;
  const Shape wrong = case_.inputs[0].size() == 3 ? Shape{500} : Shape{5, 10, 10};
  EXPECT_THAT(ErrorOf(GetParam(), case_.options, {wrong}), HasSubstr("not " + ToString(wrong)));
}

INSTANTIATE_TEST_SUITE_P(Registry, EveryLayer, testing::ValuesIn(LayerRegistry::Names()),
                         [](const auto& info) { return info.param; });

TEST(Conv2d, OutputSizesFollowStrideAndPadding) {
  const auto output = [](const char* kernel, const char* stride, const char* padding, Shape input) {
    return OutputOf("conv2d",
                    {{"out_channels", "6"}, {"kernel", kernel}, {"stride", stride}, {"padding", padding}},
                    {std::move(input)});
  };
  EXPECT_EQ(output("5", "1", "0", {1, 28, 28}), (Shape{6, 24, 24}));
  EXPECT_EQ(output("3", "1", "1", {2, 7, 5}), (Shape{6, 7, 5}));
  EXPECT_EQ(output("3", "2", "1", {2, 7, 8}), (Shape{6, 4, 4}));
  EXPECT_EQ(output("3", "4", "0", {1, 8, 9}), (Shape{6, 2, 2}));
  EXPECT_EQ(output("4", "1", "3", {2, 2, 3}), (Shape{6, 5, 6}));
  EXPECT_EQ(output("5", "1", "0", {1, 5, 5}), (Shape{6, 1, 1}));
}

TEST(Conv2d, ParametersStartAsInPyTorch) {
  const auto shape = Infer("conv2d", {{"out_channels", "8"}, {"kernel", "3"}}, {{4, 9, 9}});
  ASSERT_TRUE(shape.ok());
  ASSERT_EQ(shape->parameters.size(), 2u);
  EXPECT_EQ(shape->parameters[0].name, "weight");
  EXPECT_EQ(shape->parameters[0].shape, (Shape{8, 4, 3, 3}));
  EXPECT_EQ(shape->parameters[1].name, "bias");
  EXPECT_EQ(shape->parameters[1].shape, Shape{8});
  const Initializer expected{Initializer::Kind::kUniform, 1.0f / 6.0f};  // fan_in 36
  EXPECT_EQ(shape->parameters[0].init, expected);
  EXPECT_EQ(shape->parameters[1].init, expected);
}

TEST(Conv2d, KaimingHasTheVarianceTwoByFanOut) {
  const auto shape =
      Infer("conv2d", {{"out_channels", "6"}, {"kernel", "3"}, {"init", "kaiming"}}, {{4, 9, 9}});
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->parameters[0].init.kind, Initializer::Kind::kUniform);
  const float bound = shape->parameters[0].init.value;
  EXPECT_FLOAT_EQ(bound * bound / 3, 2.0f / 54);
  EXPECT_EQ(shape->parameters[1].init, Initializer{});
}

TEST(Conv2d, WithoutBiasHasOneParameter) {
  const auto shape =
      Infer("conv2d", {{"out_channels", "6"}, {"kernel", "3"}, {"bias", "false"}}, {{4, 9, 9}});
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->parameters.size(), 1u);
}

TEST(Conv2d, Errors) {
  EXPECT_EQ(ErrorOf("conv2d", {{"out_channels", "4"}, {"kernel", "5"}}, {{20, 3, 3}}),
            "kernel 5 does not fit its input [20,3,3]");
  EXPECT_EQ(ErrorOf("conv2d", {{"out_channels", "4"}, {"kernel", "6"}, {"padding", "1"}}, {{20, 3, 9}}),
            "kernel 6 does not fit its input [20,3,9] with padding 1");
  EXPECT_THAT(ErrorOf("conv2d", {{"kernel", "5"}}, {{1, 9, 9}}), HasSubstr("`out_channels`"));
  EXPECT_THAT(ErrorOf("conv2d", {{"out_channels", "4"}}, {{1, 9, 9}}), HasSubstr("`kernel`"));
  EXPECT_THAT(ErrorOf("conv2d", {{"out_channels", "4"}, {"kernel", "0"}}, {{1, 9, 9}}),
              HasSubstr("`kernel`"));
  EXPECT_THAT(ErrorOf("conv2d", {{"out_channels", "4"}, {"kernel", "3"}, {"stride", "0"}}, {{1, 9, 9}}),
              HasSubstr("`stride`"));
  EXPECT_THAT(ErrorOf("conv2d", {{"out_channels", "4"}, {"kernel", "3"}, {"init", "xavier"}}, {{1, 9, 9}}),
              HasSubstr("`init` is default or kaiming, not `xavier`"));
}

TEST(Conv2d, AWindowWithHolesReachesFurther) {
  const auto output = [](const char* padding, const char* dilation, Shape input) {
    return OutputOf("conv2d",
                    {{"out_channels", "6"}, {"kernel", "3"}, {"padding", padding}, {"dilation", dilation}},
                    {std::move(input)});
  };
  EXPECT_EQ(output("0", "2", {1, 7, 5}), (Shape{6, 3, 1}));
  EXPECT_EQ(output("2", "2", {1, 7, 5}), (Shape{6, 7, 5}));
  EXPECT_EQ(output("0", "3", {1, 9, 7}), (Shape{6, 3, 1}));
}

TEST(Conv2d, AKernelNeedNotBeSquare) {
  const auto shape = Infer("conv2d", With({{"out_channels", "6"}}, "kernel", {"2", "5"}), {{4, 9, 9}});
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->output, (Shape{6, 8, 5}));
  EXPECT_EQ(shape->parameters[0].shape, (Shape{6, 4, 2, 5}));
}

TEST(Conv2d, AFilterSeesTheChannelsOfItsGroup) {
  const auto shape = Infer("conv2d", {{"out_channels", "6"}, {"kernel", "3"}, {"groups", "2"}}, {{8, 9, 9}});
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->parameters[0].shape, (Shape{6, 4, 3, 3}));
  const Initializer expected{Initializer::Kind::kUniform, 1.0f / 6.0f};  // fan_in 36
  EXPECT_EQ(shape->parameters[0].init, expected);
  EXPECT_EQ(shape->parameters[1].init, expected);
}

TEST(Conv2d, KaimingCountsTheOutputsOfAllGroupsAsPyTorchDoes) {
  const auto bound = [](const char* groups) {
    return Infer("conv2d", {{"out_channels", "6"}, {"kernel", "3"}, {"groups", groups}, {"init", "kaiming"}},
                 {{6, 9, 9}})
        ->parameters[0]
        .init.value;
  };
  EXPECT_EQ(bound("6"), bound("1"));
}

TEST(Conv2d, ErrorsOfGroupsAndHoles) {
  EXPECT_THAT(ErrorOf("conv2d", {{"out_channels", "6"}, {"kernel", "1"}, {"groups", "4"}}, {{8, 9, 9}}),
              HasSubstr("`groups` must divide `out_channels`: 4 groups, 6 channels"));
  EXPECT_EQ(ErrorOf("conv2d", {{"out_channels", "6"}, {"kernel", "1"}, {"groups", "3"}}, {{8, 9, 9}}),
            "`groups` must divide the channels of its input [8,9,9], not be 3");
  EXPECT_THAT(ErrorOf("conv2d", {{"out_channels", "6"}, {"kernel", "1"}, {"groups", "0"}}, {{8, 9, 9}}),
              HasSubstr("`groups`"));
  EXPECT_THAT(ErrorOf("conv2d", {{"out_channels", "6"}, {"kernel", "3"}, {"dilation", "0"}}, {{8, 9, 9}}),
              HasSubstr("`dilation`"));
  EXPECT_EQ(ErrorOf("conv2d", {{"out_channels", "4"}, {"kernel", "3"}, {"padding", "1"}, {"dilation", "5"}},
                    {{2, 9, 8}}),
            "kernel 3 with dilation 5 does not fit its input [2,9,8] with padding 1");
  EXPECT_EQ(ErrorOf("conv2d", With({{"out_channels", "4"}}, "kernel", {"2", "9"}), {{2, 9, 8}}),
            "kernel 2x9 does not fit its input [2,9,8]");
  EXPECT_THAT(ErrorOf("conv2d", With({{"out_channels", "4"}}, "kernel", {"2", "3", "4"}), {{2, 9, 8}}),
              HasSubstr("`kernel` is one number, or a list of height and width, not 3 numbers"));
  EXPECT_THAT(ErrorOf("conv2d", With({{"out_channels", "4"}}, "kernel", {"2", "0"}), {{2, 9, 8}}),
              HasSubstr("`kernel`"));
}

TEST(Linear, ShapeAndParameters) {
  const auto shape = Infer("linear", {{"out_features", "5"}}, {{16}});
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->output, Shape{5});
  ASSERT_EQ(shape->parameters.size(), 2u);
  EXPECT_EQ(shape->parameters[0].shape, (Shape{5, 16}));
  EXPECT_EQ(shape->parameters[1].shape, Shape{5});
  EXPECT_EQ(shape->parameters[1].init, (Initializer{Initializer::Kind::kUniform, 0.25f}));
}

TEST(Linear, AnImageNeedsAFlattenBefore) {
  EXPECT_EQ(ErrorOf("linear", {{"out_features", "5"}}, {{50, 4, 4}}),
            "needs a row [F] as input, not [50,4,4]; put a `flatten` before it");
}

TEST(BatchNorm, HasTwoWeightsAndTwoStatistics) {
  const auto shape = Infer("batch_norm", {}, {{4, 5, 6}});
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->output, (Shape{4, 5, 6}));
  std::vector<std::string> text;
  for (const ParameterSpec& spec : shape->parameters) {
    EXPECT_EQ(spec.shape, Shape{4});
    EXPECT_EQ(spec.init.kind, Initializer::Kind::kConstant);
    text.push_back(spec.name + (spec.kind == ParameterKind::kStatistic ? " statistic " : " ") +
                   std::to_string(static_cast<int>(spec.init.value)));
  }
  EXPECT_THAT(text, testing::ElementsAre("weight 1", "bias 0", "running_mean statistic 0",
                                         "running_var statistic 1"));
}

TEST(BatchNorm, RefusesAnEpsThatIsNotPositive) {
  EXPECT_THAT(ErrorOf("batch_norm", {{"eps", "0"}}, {{4, 5, 6}}), HasSubstr("`eps`"));
}

TEST(MaxPool, StrideIsTheKernelUnlessGiven) {
  EXPECT_EQ(OutputOf("max_pool", {{"kernel", "2"}}, {{3, 24, 8}}), (Shape{3, 12, 4}));
  EXPECT_EQ(OutputOf("max_pool", {{"kernel", "3"}, {"stride", "1"}}, {{3, 7, 5}}), (Shape{3, 5, 3}));
}

// Expected sizes are those of torch.nn.MaxPool2d.
TEST(MaxPool, CeilModeKeepsAWindowThatStartsInside) {
  const auto output = [](const char* kernel, const char* stride, const char* padding, const char* ceil_mode,
                         int64_t size) {
    return OutputOf("max_pool",
                    {{"kernel", kernel}, {"stride", stride}, {"padding", padding}, {"ceil_mode", ceil_mode}},
                    {{1, size, size}})[1];
  };
  EXPECT_EQ(output("3", "2", "0", "false", 6), 2);
  EXPECT_EQ(output("3", "2", "0", "true", 6), 3);
  EXPECT_EQ(output("3", "2", "0", "true", 7), 3);
  EXPECT_EQ(output("2", "3", "0", "true", 5), 2);
  EXPECT_EQ(output("2", "3", "0", "true", 3), 1);
  EXPECT_EQ(output("2", "2", "1", "true", 5), 3);
  EXPECT_EQ(output("2", "2", "1", "true", 6), 4);
  EXPECT_EQ(output("1", "5", "0", "true", 5), 1);
  EXPECT_EQ(output("1", "5", "0", "true", 6), 2);
}

TEST(MaxPool, Errors) {
  EXPECT_EQ(ErrorOf("max_pool", {{"kernel", "4"}}, {{1, 3, 9}}), "kernel 4 does not fit its input [1,3,9]");
  EXPECT_THAT(ErrorOf("max_pool", {{"kernel", "3"}, {"padding", "2"}}, {{1, 9, 9}}), HasSubstr("`padding`"));
  EXPECT_THAT(ErrorOf("max_pool", {}, {{1, 9, 9}}), HasSubstr("`kernel`"));
}

TEST(AvgPool, StrideIsTheKernelUnlessGiven) {
  EXPECT_EQ(OutputOf("avg_pool", {{"kernel", "2"}}, {{3, 24, 9}}), (Shape{3, 12, 4}));
  EXPECT_EQ(OutputOf("avg_pool", {{"kernel", "3"}, {"stride", "1"}, {"padding", "1"}}, {{3, 7, 5}}),
            (Shape{3, 7, 5}));
}

TEST(AvgPool, Errors) {
  EXPECT_EQ(ErrorOf("avg_pool", {{"kernel", "4"}}, {{1, 3, 9}}), "kernel 4 does not fit its input [1,3,9]");
  EXPECT_THAT(ErrorOf("avg_pool", {{"kernel", "3"}, {"padding", "2"}}, {{1, 9, 9}}), HasSubstr("`padding`"));
  EXPECT_THAT(ErrorOf("avg_pool", {}, {{1, 9, 9}}), HasSubstr("`kernel`"));
}

TEST(AdaptiveAvgPool, GivesTheAskedSizeForAnyInput) {
  for (int64_t size : {1, 5, 7, 224}) {
    EXPECT_EQ(OutputOf("adaptive_avg_pool", {{"output", "7"}}, {{3, size, 6}}), (Shape{3, 7, 7}));
  }
  EXPECT_EQ(OutputOf("adaptive_avg_pool", With({}, "output", {"2", "4"}), {{3, 9, 9}}), (Shape{3, 2, 4}));
}

TEST(AdaptiveAvgPool, Errors) {
  EXPECT_THAT(ErrorOf("adaptive_avg_pool", {}, {{1, 9, 9}}), HasSubstr("`output`"));
  EXPECT_THAT(ErrorOf("adaptive_avg_pool", {{"output", "0"}}, {{1, 9, 9}}), HasSubstr("`output`"));
  Options options;
  options.Set("output", {std::vector<std::string>{"2", "many"}, "job.yaml:7:20"});
  EXPECT_THAT(ErrorOf("adaptive_avg_pool", options, {{1, 9, 9}}),
              testing::AllOf(HasSubstr("job.yaml:7:20"), HasSubstr("`output`"), HasSubstr("`many`")));
}

TEST(LocalResponseNorm, KeepsTheShapeAndNeedsAnImageAndASize) {
  EXPECT_EQ(OutputOf("local_response_norm", {{"size", "5"}}, {{3, 4, 7}}), (Shape{3, 4, 7}));
  EXPECT_THAT(ErrorOf("local_response_norm", {}, {{3, 4, 7}}), HasSubstr("`size`"));
  EXPECT_THAT(ErrorOf("local_response_norm", {{"size", "0"}}, {{3, 4, 7}}), HasSubstr("`size`"));
  EXPECT_THAT(ErrorOf("local_response_norm", {{"size", "5"}, {"k", "0"}}, {{3, 4, 7}}), HasSubstr("`k`"));
}

TEST(Dropout, KeepsTheShape) {
  EXPECT_EQ(OutputOf("dropout", {}, {{3, 5, 7}}), (Shape{3, 5, 7}));
  EXPECT_EQ(OutputOf("dropout", {{"p", "0"}}, {{3}}), Shape{3});
}

TEST(Dropout, RefusesAPThatLeavesNothingOrIsNoProbability) {
  EXPECT_THAT(ErrorOf("dropout", {{"p", "1"}}, {{3}}), HasSubstr("`p` must be below 1"));
  EXPECT_THAT(ErrorOf("dropout", {{"p", "-0.1"}}, {{3}}), HasSubstr("`p`"));
  EXPECT_THAT(ErrorOf("dropout", {{"p", "1.5"}}, {{3}}), HasSubstr("`p`"));
}

TEST(Concat, AddsChannelsOrFeatures) {
  EXPECT_EQ(OutputOf("concat", {}, {{3, 5, 7}, {1, 5, 7}, {4, 5, 7}}), (Shape{8, 5, 7}));
  EXPECT_EQ(OutputOf("concat", {}, {{3}, {9}}), Shape{12});
}

TEST(Concat, Errors) {
  EXPECT_EQ(ErrorOf("concat", {}, {{3, 5, 7}}), "takes 2 inputs or more, not 1");
  EXPECT_EQ(ErrorOf("concat", {}, {{3, 5, 7}, {3, 7, 5}}),
            "joins rows, or images of one height and width, not [3,5,7] and [3,7,5]");
  EXPECT_EQ(ErrorOf("concat", {}, {{3, 1, 1}, {3}}),
            "joins rows, or images of one height and width, not [3,1,1] and [3]");
}

TEST(Relu, KeepsTheShape) {
  EXPECT_EQ(OutputOf("relu", {}, {{3, 5, 7}}), (Shape{3, 5, 7}));
  EXPECT_EQ(OutputOf("relu", {}, {{3}}), Shape{3});
}

TEST(Flatten, MakesARow) {
  EXPECT_EQ(OutputOf("flatten", {}, {{3, 5, 7}}), Shape{105});
  EXPECT_EQ(OutputOf("flatten", {}, {{3}}), Shape{3});
}

TEST(GlobalAvgPool, KeepsTheChannels) { EXPECT_EQ(OutputOf("global_avg_pool", {}, {{3, 5, 7}}), Shape{3}); }

TEST(Add, TakesTwoInputsOrMoreOfOneShape) {
  EXPECT_EQ(OutputOf("add", {}, {{3, 5, 7}, {3, 5, 7}, {3, 5, 7}}), (Shape{3, 5, 7}));
  EXPECT_EQ(ErrorOf("add", {}, {{3, 5, 7}}), "takes 2 inputs or more, not 1");
  EXPECT_EQ(ErrorOf("add", {}, {{3, 5, 7}, {3, 7, 5}}), "adds inputs of one shape, not [3,5,7] and [3,7,5]");
}

TEST(ShortcutA, HalvesTheImageAsAPaddedConvolutionDoes) {
  const Options shortcut = {{"out_channels", "8"}};
  const Options conv = {{"out_channels", "8"}, {"kernel", "3"}, {"stride", "2"}, {"padding", "1"}};
  for (int64_t size = 1; size < 10; ++size) {
    EXPECT_EQ(OutputOf("shortcut_a", shortcut, {{4, size, 7}}), OutputOf("conv2d", conv, {{4, size, 7}}));
  }
}

TEST(ShortcutA, CannotDropChannels) {
  EXPECT_EQ(ErrorOf("shortcut_a", {{"out_channels", "2"}}, {{4, 6, 6}}),
            "out_channels 2 is less than its input has: [4,6,6]");
}

TEST(SoftmaxCrossEntropy, RefusesALabelSmoothingThatIsNoPart) {
  EXPECT_THAT(ErrorOf("softmax_cross_entropy", {{"label_smoothing", "1.1"}}, {{10}}),
              HasSubstr("`label_smoothing`"));
  EXPECT_THAT(ErrorOf("softmax_cross_entropy", {{"label_smoothing", "-0.1"}}, {{10}}),
              HasSubstr("`label_smoothing`"));
}

TEST(SoftmaxCrossEntropy, IsOneNumber) { EXPECT_EQ(OutputOf("softmax_cross_entropy", {}, {{10}}), Shape{}); }

}  // namespace
}  // namespace tessera::nn
