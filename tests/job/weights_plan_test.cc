#include "job/weights_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/safetensors.h"
#include "common/starting_weights.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using testing::StartsWith;

class WeightsPlanTest : public testing::Test {
 protected:
  // Two shards: 4 and 2 elements.
  static ShardLayout Layout() {
    return *ShardLayout::Create({{"conv", ParameterKind::kWeight, {{"conv.weight", {4}}}},
                                 {"fc", ParameterKind::kWeight, {{"fc.weight", {2}}}}},
                                1024);
  }

  JobSpec Job(const NamedTensors& tensors) {
    EXPECT_TRUE(WriteSafetensors(folder_.File("w.safetensors"), tensors, {}).ok());
    JobSpec job;
    job.model.weights = folder_.File("w.safetensors");
    job.model.where = "job.yaml:2:3";
    return job;
  }

  TemporaryFolder folder_;
};

TEST_F(WeightsPlanTest, HasTheDigestOfEveryShardsFirstValues) {
  const auto plan =
      PlanWeights(Job({{"conv.weight", {{4}, {1, 2, 3, 4}}}, {"fc.weight", {{2}, {5, 6}}}}), Layout());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->shard_digests, testing::ElementsAre(ShardDigest(std::vector<float>{1, 2, 3, 4}),
                                                        ShardDigest(std::vector<float>{5, 6})));
  EXPECT_EQ(plan->summary, "w.safetensors: 2 of 2 tensors");
  EXPECT_EQ(plan->warning, "");
}

TEST_F(WeightsPlanTest, CoversLayersThatStartAfresh) {
  JobSpec job = Job({{"conv.weight", {{4}, {1, 2, 3, 4}}}, {"head.weight", {{1}, {0}}}});
  job.model.replace = {"fc"};
  const auto plan = PlanWeights(job, Layout());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->shard_digests[1], ShardDigest(std::vector<float>{0, 0}));
  EXPECT_EQ(plan->summary, "w.safetensors: 1 of 2 tensors; starts afresh: fc.weight [2] (not in the file)");
  EXPECT_EQ(plan->warning, "w.safetensors: 1 tensor fits no parameter: head.weight");
}

TEST_F(WeightsPlanTest, IsEmptyForAJobThatStartsAtRandom) {
  const auto plan = PlanWeights(JobSpec(), Layout());
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_TRUE(plan->shard_digests.empty());
  EXPECT_EQ(plan->summary, "");
}

TEST_F(WeightsPlanTest, ErrorsNameThePositionAndTheKey) {
  const absl::Status status = PlanWeights(Job({{"conv.weight", {{4}, {1, 2, 3, 4}}}}), Layout()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), StartsWith("job.yaml:2:3: model.weights: "));
}

}  // namespace
}  // namespace tessera
