#include "job/job_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/job/fake_dataset.h"

namespace tessera {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

std::string Text(const absl::Status& status) { return std::string(status.message()); }

// Two replicas of 5 images; flatten, then linear to three classes: 4 x 3 weights and 3 biases.
JobSpec SmallJob() {
  JobSpec job;
  job.name = "small";
  job.model.layers = {
      {.name = "flat", .type = "flatten", .where = "job.yaml:3:5"},
      {.name = "fc", .type = "linear", .options = Options({{"out_features", "3"}}), .where = "job.yaml:4:5"}};
  job.model.where = "job.yaml:2:1";
  job.data.test = NamedOptions{.name = "idx", .where = "job.yaml:9:5"};
  job.train.replicas = 2;
  job.train.batch_size = 5;
  job.train.epochs = 3;
  return job;
}

TEST(JobPlan, CountsStepsClassesAndShards) {
  JobSpec job = SmallJob();
  job.cluster.shard_bytes = 32;
  const auto plan = MakeJobPlan(job, {MakeFakeDataset(47), MakeFakeDataset(20)});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->steps_per_epoch, 4);  // floor(47 / 10)
  EXPECT_EQ(plan->total_steps, 12);
  EXPECT_EQ(plan->train_samples, 47);
  EXPECT_EQ(plan->test_samples, 20);
  EXPECT_EQ(plan->graph->classes(), 3);
  EXPECT_EQ(plan->graph->num_parameters(), 15);
  EXPECT_EQ(plan->layout.total_bytes(), 60);
  EXPECT_EQ(plan->layout.shards().size(), 2u);
}

TEST(JobPlan, TakesTheLargerNumberOfClasses) {
  JobSpec job = SmallJob();
  const auto plan = MakeJobPlan(job, {MakeFakeDataset(47, {1, 2, 2}, 2), MakeFakeDataset(20, {1, 2, 2}, 3)});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->graph->classes(), 3);
}

TEST(JobPlan, WorksWithoutATestSet) {
  JobSpec job = SmallJob();
  job.data.test.reset();
  const auto plan = MakeJobPlan(job, {MakeFakeDataset(10), nullptr});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->test_samples, 0);
  EXPECT_EQ(plan->steps_per_epoch, 1);
}

TEST(JobPlan, RefusesAnEpochWithoutAStep) {
  const auto plan = MakeJobPlan(SmallJob(), {MakeFakeDataset(9), nullptr});
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(plan.status().message(),
              HasSubstr("9 training samples, but 2 replicas with minibatches of 5 need 10"));
}

TEST(JobPlan, RefusesTestImagesOfAnotherShapeWithPosition) {
  const auto plan = MakeJobPlan(SmallJob(), {MakeFakeDataset(47), MakeFakeDataset(20, {3, 2, 2})});
  EXPECT_EQ(plan.status().message(), "job.yaml:9:5: test images are [3,2,2] but training images are [1,2,2]");
}

TEST(JobPlan, RefusesANetworkThatDoesNotEndInTheClasses) {
  JobSpec job = SmallJob();
  job.model.layers[1].options = Options({{"out_features", "7"}});
  const auto plan = MakeJobPlan(job, {MakeFakeDataset(47), nullptr});
  EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Text(plan.status()), StartsWith("job.yaml:4:5: "));
}

TEST(JobPlan, NamesTheNearestModelAndItsPosition) {
  JobSpec job = SmallJob();
  job.model.layers.clear();
  job.model.name = "lenet6";
  const auto plan = MakeJobPlan(job, {MakeFakeDataset(47), nullptr});
  EXPECT_THAT(Text(plan.status()),
              StartsWith("job.yaml:2:1: unknown model `lenet6`; did you mean `lenet5`?"));
}

TEST(JobPlan, RefusesNormalisationForOtherChannels) {
  JobSpec job = SmallJob();
  job.data.normalize = {.measured = false, .mean = {0.5, 0.5, 0.5}, .std = {1, 1, 1}};
  const auto plan = MakeJobPlan(job, {MakeFakeDataset(47), nullptr});
  EXPECT_THAT(plan.status().message(), HasSubstr("data.normalize is for 3 channels, the images have 1"));
}

TEST(OpenJobData, NamesUnknownFormatAndPosition) {
  const DataSpec spec{.train = {.name = "idy", .where = "job.yaml:8:12"}};
  EXPECT_THAT(Text(OpenJobData(spec).status()),
              StartsWith("job.yaml:8:12: unknown data format `idy`; did you mean `idx`?"));
}

TEST(OpenJobData, NamesThePositionOfAMissingDataSet) {
  Options options;
  options.Set("path", {std::string("/nonexistent"), "job.yaml:8:30"});
  options.Set("split", {std::string("train"), "job.yaml:8:50"});
  const DataSpec spec{.train = {.name = "idx", .options = options, .where = "job.yaml:8:12"}};
  const absl::Status status = OpenJobData(spec).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Text(status), StartsWith("job.yaml:8:30: no data set in /nonexistent"));
}

TEST(AtPosition, AddsAPositionOnlyWhereThereIsNone) {
  const auto at = [](const std::string& message) {
    return Text(AtPosition("dir/job.yaml:3:5", absl::InvalidArgumentError(message)));
  };
  EXPECT_EQ(at("bad"), "dir/job.yaml:3:5: bad");
  EXPECT_EQ(at("dir/job.yaml:4:7: bad"), "dir/job.yaml:4:7: bad");
  EXPECT_EQ(at("--set a.b: bad"), "--set a.b: bad");
  EXPECT_EQ(Text(AtPosition("", absl::InvalidArgumentError("bad"))), "bad");
  EXPECT_TRUE(AtPosition("job.yaml:3:5", absl::OkStatus()).ok());
}

}  // namespace
}  // namespace tessera
