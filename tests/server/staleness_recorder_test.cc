#include "server/staleness_recorder.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(StalenessRecorder, CountsSumsAndFindsTheMaximum) {
  StalenessRecorder recorder;
  recorder.Record({0, 2, 2}, 1);
  recorder.Record({5}, 3);
  recorder.Record({4}, 0);
  const StalenessStats stats = recorder.stats();
  EXPECT_EQ(stats.pushes, 5);
  EXPECT_EQ(stats.sum, 13);
  EXPECT_EQ(stats.max, 5);
  EXPECT_EQ(stats.clock_lead_max, 3);
  EXPECT_EQ(stats.histogram[2], 2);
}

TEST(StalenessRecorder, LastBucketTakesAllAbove) {
  StalenessRecorder recorder;
  recorder.Record({1022, 1023, 1024, 1000000}, 0);
  const StalenessStats stats = recorder.stats();
  ASSERT_EQ(stats.histogram.size(), 1024U);
  EXPECT_EQ(stats.histogram[1022], 1);
  EXPECT_EQ(stats.histogram[1023], 3);
  EXPECT_EQ(stats.max, 1000000);
}

}  // namespace
}  // namespace tessera
