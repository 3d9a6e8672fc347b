#include "coordinator/recomputed_steps.h"

#include <gtest/gtest.h>

#include <limits>

namespace tessera {
namespace {

TEST(RecomputedSteps, AreDistinctClocksOfATimelineAndWhatRewindsLose) {
  RecomputedSteps steps;
  EXPECT_EQ(steps.total(), 0);
  for (const Clock clock : {3, 3, 7, 3}) steps.Add(clock);
  EXPECT_EQ(steps.total(), 2);
  steps.Rewind(5);
  EXPECT_EQ(steps.total(), 7);
  steps.Add(3);
  EXPECT_EQ(steps.total(), 8);
}

TEST(RecomputedSteps, AreBoundedInMemoryAndCountedAllTheSame) {
  RecomputedSteps steps;
  const auto apart = static_cast<Clock>(RecomputedSteps::kMostApart);
  for (int time = 0; time < 2; ++time) {
    for (Clock clock = 0; clock < 2 * apart; ++clock) steps.Add(clock);
  }
  EXPECT_EQ(steps.total(), 2 * apart) << "told again, they count once";
  wire::JournalState journal;
  steps.ToJournal(&journal);
  EXPECT_EQ(journal.recomputed_size(), apart);
}

TEST(RecomputedSteps, SurviveInTheJournal) {
  RecomputedSteps steps;
  steps.Add(1);
  steps.Rewind(4);
  for (Clock clock = 0; clock < 2000; ++clock) steps.Add(clock);
  wire::JournalState journal;
  steps.ToJournal(&journal);
  RecomputedSteps again;
  again.FromJournal(journal);
  EXPECT_EQ(again.total(), 2005);
  for (Clock clock = 0; clock < 2000; ++clock) again.Add(clock);
  EXPECT_EQ(again.total(), 2005);
  again.Add(2000);
  EXPECT_EQ(again.total(), 2006);
}

TEST(RecomputedSteps, StayAtTheEndOfTheirRange) {
  RecomputedSteps steps;
  wire::JournalState journal;
  journal.set_recomputed_before(-5);
  journal.set_recomputed_up_to(-7);
  steps.FromJournal(journal);
  EXPECT_EQ(steps.total(), 0);
  steps.Rewind(std::numeric_limits<int64_t>::max());
  steps.Rewind(3);
  steps.Add(1);
  EXPECT_EQ(steps.total(), std::numeric_limits<int64_t>::max());
}

}  // namespace
}  // namespace tessera
