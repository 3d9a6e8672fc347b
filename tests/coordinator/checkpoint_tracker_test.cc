// Parts of checkpoints, as servers report them before, during and after a takeover.
#include "coordinator/checkpoint_tracker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tessera {
namespace {

wire::CheckpointFile File(const std::string& name, const std::vector<ShardId>& shards) {
  wire::CheckpointFile file;
  file.set_name(name);
  file.set_bytes(10);
  file.set_sha256(std::string(32, 'x'));
  file.mutable_shards()->Assign(shards.begin(), shards.end());
  return file;
}

class CheckpointTrackerTest : public testing::Test {
 protected:
  absl::StatusOr<bool> Add(const std::string& name, const std::vector<ShardId>& shards) {
    return tracker_.AddPart(4, File(name, shards), {0, 1, 2, 3});
  }
  std::vector<std::string> Names() {
    const auto whole = tracker_.TakeWhole();
    std::vector<std::string> names;
    if (!whole.has_value()) return names;
    for (const wire::CheckpointFile& file : whole->files) names.push_back(file.name());
    return names;
  }

  CheckpointTracker tracker_{{.shards = 4, .total_steps = 8}};
};

TEST_F(CheckpointTrackerTest, AServerMayReportItsShardsInSeveralFiles) {
  EXPECT_TRUE(*Add("a", {2}));
  EXPECT_TRUE(*Add("b", {3, 0}));
  EXPECT_FALSE(tracker_.has_whole());
  EXPECT_TRUE(*Add("c", {1}));
  EXPECT_THAT(Names(), testing::ElementsAre("a", "b", "c"));
}

TEST_F(CheckpointTrackerTest, APartThatAddsNothingIsNoNews) {
  EXPECT_TRUE(*Add("a", {0, 1}));
  EXPECT_FALSE(*Add("b", {1}));
  EXPECT_TRUE(*Add("c", {2, 3}));
  EXPECT_THAT(Names(), testing::ElementsAre("a", "c"));
  EXPECT_FALSE(*Add("d", {0})) << "it is taken";
}

TEST_F(CheckpointTrackerTest, APartThatHasAllOfOthersTakesTheirPlace) {
  EXPECT_TRUE(*Add("a", {0}));
  EXPECT_TRUE(*Add("b", {2}));
  EXPECT_TRUE(*Add("c", {1, 2, 3}));
  EXPECT_THAT(Names(), testing::ElementsAre("a", "c"));
}

TEST_F(CheckpointTrackerTest, PartsThatOverlapMakeNoWhole) {
  EXPECT_TRUE(*Add("a", {0, 1}));
  EXPECT_EQ(Add("b", {1, 2, 3}).status().code(), absl::StatusCode::kAborted);
  EXPECT_FALSE(tracker_.has_whole());
}

TEST_F(CheckpointTrackerTest, RefusesShardsThatCannotBeThere) {
  for (const std::vector<ShardId>& shards : {std::vector<ShardId>{}, {4}, {-1}, {0, 0}}) {
    EXPECT_EQ(Add("a", shards).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(CheckpointTrackerTest, AfterATakeoverWhatWasAskedForAndPassedIsAskedForLater) {
  ASSERT_EQ(*tracker_.Request(1, 2), 3);
  tracker_.OnTakeover(2, 2);
  EXPECT_EQ(tracker_.requested_clock(), 3) << "nobody has passed it";
  tracker_.OnTakeover(3, 2);
  EXPECT_EQ(tracker_.requested_clock(), 5);
  tracker_.OnTakeover(7, 2);
  EXPECT_EQ(tracker_.requested_clock(), 0) << "the job ends before";
}

}  // namespace
}  // namespace tessera
