#include "common/initial_weights.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::Each;

ParameterSpec Uniform(const std::string& name, float bound) {
  return {name, {100}, ParameterKind::kWeight, {Initializer::Kind::kUniform, bound}};
}

std::vector<float> Initial(uint64_t seed, const ParameterSpec& parameter, int64_t first, size_t count) {
  std::vector<float> out(count);
  FillInitial(seed, parameter, first, absl::MakeSpan(out));
  return out;
}

TEST(InitialWeights, ConstantsAreTheirValue) {
  const ParameterSpec ones{"bn1.weight", {8}, ParameterKind::kWeight, {Initializer::Kind::kConstant, 1}};
  EXPECT_THAT(Initial(1, ones, 0, 8), Each(1.0F));
}

TEST(InitialWeights, UniformFollowsItsFormula) {
  const RandomStream stream(5, RandomPurpose::kInitialWeights, HashName("fc.weight"));
  const std::vector<float> values = Initial(5, Uniform("fc.weight", 0.25F), 0, 100);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(values[i], (2 * stream.Uniform(i) - 1) * 0.25F);
}

TEST(InitialWeights, DoNotDependOnHowTheTensorIsCut) {
  const ParameterSpec parameter = Uniform("fc.weight", 0.1F);
  const std::vector<float> whole = Initial(1, parameter, 0, 64);
  for (int64_t first = 0; first < 64; ++first) {
    for (int64_t count = 0; first + count <= 64; ++count) {
      EXPECT_EQ(Initial(1, parameter, first, count),
                std::vector<float>(whole.begin() + first, whole.begin() + first + count));
    }
  }
}

TEST(InitialWeights, SpreadEvenlyOverTheirInterval) {
  const std::vector<float> values = Initial(1, Uniform("fc.weight", 0.1F), 0, 100'000);
  const auto [lowest, highest] = std::minmax_element(values.begin(), values.end());
  EXPECT_GE(*lowest, -0.1F);
  EXPECT_LT(*lowest, -0.0999F);
  EXPECT_LT(*highest, 0.1F);
  EXPECT_GT(*highest, 0.0999F);
  double squares = 0;
  for (const float value : values) squares += double{value} * value;
  EXPECT_NEAR(squares / 100'000, 0.01 / 3, 1e-4);
}

TEST(InitialWeights, DifferBySeedAndName) {
  const std::vector<float> values = Initial(1, Uniform("conv1.weight", 1), 0, 8);
  EXPECT_NE(values, Initial(2, Uniform("conv1.weight", 1), 0, 8));
  EXPECT_NE(values, Initial(1, Uniform("conv2.weight", 1), 0, 8));
}

}  // namespace
}  // namespace tessera
