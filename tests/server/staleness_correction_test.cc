#include "server/staleness_correction.h"

#include <gtest/gtest.h>

#include <limits>

#include "tests/server/test_shards.h"

namespace tessera {
namespace {

using Kind = StalenessCorrection::Kind;

TEST(StalenessCorrection, NamesAreThoseOfTheJobFile) {
  EXPECT_EQ(*ParseStalenessCorrection("none"), Kind::kNone);
  EXPECT_EQ(*ParseStalenessCorrection("scale"), Kind::kScale);
  EXPECT_EQ(*ParseStalenessCorrection("delay_compensated"), Kind::kDelayCompensated);
  EXPECT_EQ(ParseStalenessCorrection("Scale").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(StalenessCorrection, RefusesWhatItCannotCompensate) {
  const auto code = [](Kind kind, double lambda, int32_t group) {
    return CheckStalenessCorrection({.kind = kind, .lambda = lambda}, group).code();
  };
  EXPECT_EQ(code(Kind::kDelayCompensated, 0.04, 1), absl::StatusCode::kOk);
  EXPECT_EQ(code(Kind::kDelayCompensated, 0, 1), absl::StatusCode::kOk);
  EXPECT_EQ(code(Kind::kDelayCompensated, -1, 1), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Kind::kDelayCompensated, std::numeric_limits<double>::infinity(), 1),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Kind::kDelayCompensated, 0.04, 2), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Kind::kScale, -1, 4), absl::StatusCode::kOk);
}

TEST(StalenessCorrection, ScaleIsOneOverOnePlusTheMeanStaleness) {
  EXPECT_EQ(StalenessScale({}), 1);
  EXPECT_EQ(StalenessScale({0}), 1);
  EXPECT_EQ(StalenessScale({3}), 0.25);
  EXPECT_EQ(StalenessScale({1, 2}), 0.4);
  EXPECT_EQ(StalenessScale({0, 0, 0, 4}), 0.5);
}

TEST(StalenessCorrection, CompensatesByTheSquareOfTheGradientTimesTheDrift) {
  // Exact in binary: 2 + 0.5 * 4 * (3 - 1) = 6;  -1 + 0.5 * 1 * (0 - 4) = -3;  0 stays;  4 + 0.5 * 16 * 0
  // = 4.
  Floats gradient = {2, -1, 0, 4};
  CompensateDelay(0.5F, Floats{3, 0, 9, 2}, Floats{1, 4, -9, 2}, {}, absl::MakeSpan(gradient));
  EXPECT_EQ(gradient, (Floats{6, -3, 0, 4}));
}

TEST(StalenessCorrection, MeanSquareIsARunningMean) {
  Floats mean_square = {0, 4};
  UpdateMeanSquare(Floats{2, -3}, absl::MakeSpan(mean_square));
  EXPECT_FLOAT_EQ(mean_square[0], 0.2F);          // 0.05 * 4
  EXPECT_FLOAT_EQ(mean_square[1], 3.8F + 0.45F);  // 0.95 * 4 + 0.05 * 9
  UpdateMeanSquare(Floats{2, 0}, absl::MakeSpan(mean_square));
  EXPECT_FLOAT_EQ(mean_square[0], 0.19F + 0.2F);
  EXPECT_FLOAT_EQ(mean_square[1], 0.95F * 4.25F);
}

TEST(StalenessCorrection, AdaptiveLambdaIsOverTheRootOfTheMeanSquare) {
  // 3 + 2 / sqrt(4) * 9 * (1 - 0.5) = 7.5. Where nothing is known yet, eps keeps it finite.
  Floats gradient = {3, 1e-3F};
  CompensateDelay(2, Floats{1, 1}, Floats{0.5F, 0}, Floats{4, 0}, absl::MakeSpan(gradient));
  EXPECT_NEAR(gradient[0], 7.5, 1e-6);
  EXPECT_NEAR(gradient[1], 1e-3 + 2 / 3.1622776601e-4 * 1e-6, 1e-8);
}

}  // namespace
}  // namespace tessera
