#include "coordinator/evaluation_results.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace tessera {
namespace {

TEST(EvaluationResults, IsCompleteWhenEverySampleIsCounted) {
  EvaluationResults results(10);
  ASSERT_TRUE(results.Record(4, {{.chunk = 1, .samples = 6, .correct = 3, .loss_sum = 2.0}}).ok());
  EXPECT_FALSE(results.At(4).has_value());
  ASSERT_TRUE(results.Record(4, {{.chunk = 0, .samples = 4, .correct = 4, .loss_sum = 3.0}}).ok());
  ASSERT_TRUE(results.At(4).has_value());
  EXPECT_DOUBLE_EQ(results.At(4)->accuracy, 0.7);
  EXPECT_DOUBLE_EQ(results.At(4)->loss, 0.5);
  EXPECT_FALSE(results.At(8).has_value());
}

TEST(EvaluationResults, CountsAChunkOnceTheFirstReportWins) {
  EvaluationResults results(8);
  ASSERT_TRUE(results.Record(4, {{0, 4, 4, 1.0}}).ok());
  ASSERT_TRUE(results.Record(4, {{0, 4, 0, 9.0}, {0, 4, 0, 9.0}}).ok());
  EXPECT_FALSE(results.At(4).has_value());
  ASSERT_TRUE(results.Record(4, {{1, 4, 2, 1.0}}).ok());
  EXPECT_DOUBLE_EQ(results.At(4)->accuracy, 0.75);
  EXPECT_DOUBLE_EQ(results.At(4)->loss, 0.25);
}

TEST(EvaluationResults, AddsLossesInOrderOfChunkHoweverTheyCome) {
  // 1e16 + 1 + 1 is 1e16 from the left and 1e16 + 2 from the right.
  const std::vector<ChunkResult> chunks = {{0, 1, 0, 1e16}, {1, 1, 0, 1.0}, {2, 1, 0, 1.0}};
  EvaluationResults forward(3), backward(3);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(forward.Record(1, {chunks[i]}).ok());
    ASSERT_TRUE(backward.Record(1, {chunks[2 - i]}).ok());
  }
  EXPECT_EQ(forward.At(1)->loss, ((1e16 + 1.0) + 1.0) / 3);
  EXPECT_EQ(backward.At(1)->loss, forward.At(1)->loss);
}

TEST(EvaluationResults, CarriesALossThatIsNotANumber) {
  EvaluationResults results(2);
  ASSERT_TRUE(results.Record(1, {{0, 2, 1, std::numeric_limits<double>::quiet_NaN()}}).ok());
  EXPECT_TRUE(std::isnan(results.At(1)->loss));
  EXPECT_DOUBLE_EQ(results.At(1)->accuracy, 0.5);
}

TEST(EvaluationResults, RefusesNumbersThatCannotBeAndRecordsNothing) {
  EvaluationResults results(10);
  const std::vector<ChunkResult> bad = {{-1, 1, 0, 0}, {0, 0, 0, 0},           {0, -3, 0, 0}, {0, 4, 5, 0},
                                        {0, 4, -1, 0}, {0, INT64_MAX, 1, 0.0}, {0, 11, 1, 0}};
  for (const ChunkResult& chunk : bad) {
    EXPECT_EQ(results.Record(1, {{7, 5, 5, 0}, chunk}).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_FALSE(results.Record(1, {{0, 6, 0, 0}, {1, 6, 0, 0}}).ok());  // 12 of 10
  ASSERT_TRUE(results.Record(1, {{0, 10, 10, 0}}).ok());
  EXPECT_DOUBLE_EQ(results.At(1)->accuracy, 1.0);
}

}  // namespace
}  // namespace tessera
