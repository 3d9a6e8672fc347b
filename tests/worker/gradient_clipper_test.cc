#include "worker/gradient_clipper.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace tessera {
namespace {

BlockGradient Gradient(int block, std::vector<float> values) {
  auto gradient = std::make_shared<TensorBuffer>(values.size());
  std::copy(values.begin(), values.end(), gradient->data());
  return {block, std::move(gradient)};
}

std::vector<float> Values(const BlockGradient& gradient) {
  return {gradient.gradient->span().begin(), gradient.gradient->span().end()};
}

TEST(GradientClipper, ScalesAllBlocksByTheNormOfTheWholeGradient) {
  GradientClipper clipper(1.0, 2);
  EXPECT_TRUE(clipper.Add(Gradient(1, {3, 0})).empty()) << "the norm is not known yet";
  const std::vector<BlockGradient> clipped = clipper.Add(Gradient(0, {0, 4, 0}));
  ASSERT_EQ(clipped.size(), 2U);
  EXPECT_EQ(clipped[0].block, 1) << "in the order in which they came";
  const auto factor = static_cast<float>(1.0 / (5.0 + 1e-6));
  EXPECT_EQ(Values(clipped[0]), (std::vector<float>{3 * factor, 0}));
  EXPECT_EQ(Values(clipped[1]), (std::vector<float>{0, 4 * factor, 0}));
}

TEST(GradientClipper, LeavesASmallGradientAsItIs) {
  GradientClipper clipper(5.1, 2);
  clipper.Add(Gradient(0, {3}));
  const std::vector<BlockGradient> same = clipper.Add(Gradient(1, {4}));
  EXPECT_EQ(Values(same[0]), std::vector<float>{3});
  EXPECT_EQ(Values(same[1]), std::vector<float>{4});
}

TEST(GradientClipper, EveryMinibatchStartsAfresh) {
  GradientClipper clipper(1.0, 1);
  EXPECT_NEAR(Values(clipper.Add(Gradient(0, {100}))[0])[0], 1, 1e-6);
  EXPECT_EQ(Values(clipper.Add(Gradient(0, {0.5F}))[0])[0], 0.5F);
}

TEST(GradientClipper, TheNormDoesNotDependOnTheOrderOfTheBlocks) {
  const std::vector<float> a(1001, 1e-3F), b = {1e4F, 3}, c(77, 0.3F);
  const auto clip = [&](std::vector<int> order) {
    const std::vector<std::vector<float>> blocks = {a, b, c};
    GradientClipper clipper(0.7, 3);
    std::vector<BlockGradient> clipped;
    for (int block : order) clipped = clipper.Add(Gradient(block, blocks[static_cast<size_t>(block)]));
    std::sort(clipped.begin(), clipped.end(),
              [](const BlockGradient& x, const BlockGradient& y) { return x.block < y.block; });
    return std::vector<std::vector<float>>{Values(clipped[0]), Values(clipped[1]), Values(clipped[2])};
  };
  EXPECT_EQ(clip({0, 1, 2}), clip({2, 1, 0}));
  EXPECT_EQ(clip({0, 1, 2}), clip({1, 0, 2}));
}

TEST(SumOfSquares, IsInFloat64ForAnyLength) {
  for (size_t length : {0U, 1U, 7U, 8U, 9U, 1000U}) {
    std::vector<float> values(length);
    double expected = 0;
    for (size_t i = 0; i < length; ++i) {
      values[i] = static_cast<float>(i) * 1000;
      expected += static_cast<double>(values[i]) * values[i];
    }
    EXPECT_DOUBLE_EQ(SumOfSquares(values), expected) << length;
  }
  EXPECT_TRUE(std::isfinite(SumOfSquares(std::vector<float>(4, 3e38F)))) << "float32 would overflow";
}

}  // namespace
}  // namespace tessera
