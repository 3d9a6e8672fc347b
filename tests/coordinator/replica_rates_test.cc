#include "coordinator/replica_rates.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

absl::Time At(double seconds) { return absl::UnixEpoch() + absl::Seconds(seconds); }

TEST(ReplicaRates, KnowsNothingBeforeTwoMinibatchesHaveEnded) {
  ReplicaRates rates(2);
  EXPECT_EQ(rates.PerSecond(0), 0);
  rates.Record(0, 0, At(1));
  rates.Record(0, 1, At(5));  // who knows when it began
  EXPECT_EQ(rates.PerSecond(0), 0);
  rates.Record(0, 2, At(6));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 1);
  EXPECT_EQ(rates.PerSecond(1), 0);
}

TEST(ReplicaRates, CountsWhatEndedInTheWindow) {
  ReplicaRates rates(1);
  for (int second = 0; second <= 100; ++second) rates.Record(0, 1 + 4 * second, At(second));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 4);
  for (int second = 1; second <= 12; ++second) rates.Record(0, 401 + 2 * second, At(100 + second));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 2) << "what lies before the window counts no more";
}

TEST(ReplicaRates, LooksBackFurtherWhereMinibatchesTakeLonger) {
  ReplicaRates rates(1);
  for (int i = 0; i < 5; ++i) rates.Record(0, 1 + i, At(20 * i));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 0.05);
}

TEST(ReplicaRates, HeartbeatsBetweenTwoMinibatchesChangeNothing) {
  ReplicaRates rates(1);
  for (int tenth = 0; tenth <= 300; ++tenth) rates.Record(0, 1 + tenth / 20, At(tenth / 10.0));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 0.5);
}

TEST(ReplicaRates, AReplicaThatStandsStillSlowsDown) {
  ReplicaRates rates(1);
  for (int second = 0; second <= 10; ++second) rates.Record(0, 1 + second, At(second));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 1);
  rates.Record(0, 11, At(11));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 1) << "the next one may end just now";
  rates.Record(0, 11, At(22));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 0.5);
  rates.Record(0, 11, At(1000));
  EXPECT_LT(rates.PerSecond(0), 0.02);
}

TEST(ReplicaRates, LateAndRepeatedReportsChangeNothing) {
  ReplicaRates rates(1);
  rates.Record(0, 1, At(0));
  rates.Record(0, 5, At(2));
  rates.Record(0, 3, At(2));
  rates.Record(0, 5, At(2));
  rates.Record(0, 9, At(2));
  rates.Record(0, 9, At(1));
  EXPECT_DOUBLE_EQ(rates.PerSecond(0), 2);
}

}  // namespace
}  // namespace tessera
