#include "job/job_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/job/fake_dataset.h"
#include "worker/nn/layers/softmax_cross_entropy.h"

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

TEST(JobPlan, SmoothsTheLabelsOfANetworkOfTheZoo) {
  JobSpec job = SmallJob();
  job.model.layers.clear();
  job.model.name = "resnet20";
  const JobData data{MakeFakeDataset(47, {1, 8, 8}), MakeFakeDataset(20, {1, 8, 8})};
  for (const auto& [text, smoothing] : {std::pair{"0.25", 0.25}, {"0", 0.0}}) {
    job.model.options = Options({{"label_smoothing", text}});
    const auto plan = MakeJobPlan(job, data);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const auto* loss =
        dynamic_cast<const nn::SoftmaxCrossEntropy*>(plan->graph->nodes().back().layer.get());
    ASSERT_NE(loss, nullptr);
    EXPECT_EQ(loss->label_smoothing, smoothing);
  }
  job.model.options = Options({{"label_smoothing", "1.5"}});
  EXPECT_THAT(Text(MakeJobPlan(job, data).status()), HasSubstr("label_smoothing"));
  job.model.options = Options({{"label_smooth", "0.1"}});
  EXPECT_THAT(Text(MakeJobPlan(job, data).status()), HasSubstr("label_smooth"));
}

TEST(JobPlan, RefusesNormalisationForOtherChannels) {
  JobSpec job = SmallJob();
  job.data.normalize = {.measured = false, .mean = {0.5, 0.5, 0.5}, .std = {1, 1, 1}};
  const auto plan = MakeJobPlan(job, {MakeFakeDataset(47), nullptr});
  EXPECT_THAT(plan.status().message(), HasSubstr("data.normalize is for 3 channels, the images have 1"));
}

// A row through `left`, an image through `pool` and `right`; their sum.
JobSpec TwoInputJob() {
  JobSpec job = SmallJob();
  const Options to_classes({{"out_features", "3"}});
  job.model.layers = {{.name = "left", .type = "linear", .inputs = {"spectrum"}, .options = to_classes},
                      {.name = "pool", .type = "global_avg_pool", .inputs = {"height"}},
                      {.name = "right", .type = "linear", .options = to_classes},
                      {.name = "sum", .type = "add", .inputs = {"left", "right"}}};
  return job;
}

std::vector<nn::InputSpec> TwoInputs() { return {{"spectrum", {144}}, {"height", {21, 7, 7}}}; }

std::shared_ptr<const Dataset> TwoInputData(uint32_t size, std::vector<nn::InputSpec> inputs = TwoInputs()) {
  return std::make_shared<FakeInputs>(size, std::move(inputs));
}

TEST(JobPlanWithTwoInputs, GivesTheNetworkTheInputsOfTheData) {
  const auto plan = MakeJobPlan(TwoInputJob(), {TwoInputData(47), TwoInputData(20)});
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->graph->inputs(), TwoInputs());
  EXPECT_EQ(plan->graph->num_parameters(), 144 * 3 + 3 + 21 * 3 + 3);
}

TEST(JobPlanWithTwoInputs, RefusesATestSetOfOtherInputs) {
  const auto error = [](std::vector<nn::InputSpec> inputs) {
    return Text(MakeJobPlan(TwoInputJob(), {TwoInputData(47), TwoInputData(20, std::move(inputs))}).status());
  };
  EXPECT_EQ(error({{"spectrum", {100}}, {"height", {21, 7, 7}}}),
            "job.yaml:9:5: test samples have spectrum [100], height [21,7,7] but training samples have "
            "spectrum [144], height [21,7,7]");
  EXPECT_THAT(error({{"height", {21, 7, 7}}, {"spectrum", {144}}}),
              StartsWith("job.yaml:9:5: test samples have"));
  EXPECT_THAT(error({{"image", {1, 2, 2}}}), HasSubstr("test samples have image [1,2,2]"));
}

TEST(JobPlanWithTwoInputs, NamesAnInputThatTheNetworkDoesNotUse) {
  JobSpec job = TwoInputJob();
  job.model.layers.resize(1);
  EXPECT_EQ(Text(MakeJobPlan(job, {TwoInputData(47), nullptr}).status()),
            "job.yaml:2:1: no layer uses the input `height`; name it in a layer's `inputs`");
}

TEST(JobPlanWithTwoInputs, TheZooTakesImagesAlone) {
  JobSpec job = SmallJob();
  job.model.layers.clear();
  job.model.name = "resnet20";
  EXPECT_THAT(
      Text(MakeJobPlan(job, {TwoInputData(47), nullptr}).status()),
      StartsWith("job.yaml:2:1: network `resnet20` takes one input, `image` [C,H,W], but samples have "
                 "spectrum [144], height [21,7,7]"));
  EXPECT_THAT(Text(MakeJobPlan(job, {TwoInputData(47, {{"height", {1, 8, 8}}}), nullptr}).status()),
              HasSubstr("but samples have height [1,8,8]"));
}

TEST(JobPlanWithTwoInputs, NormalisationIsMeasured) {
  JobSpec job = TwoInputJob();
  job.data.normalize = {.measured = false, .mean = {0.5}, .std = {1}};
  EXPECT_THAT(Text(MakeJobPlan(job, {TwoInputData(47), nullptr}).status()),
              HasSubstr("data.normalize is `measured` where samples have several inputs"));
}

TEST(JobPlan, RefusesATestSetOfOtherClasses) {
  const std::vector<nn::InputSpec> image = {{"image", {1, 2, 2}}};
  const auto train = std::make_shared<FakeInputs>(47, image, std::vector<std::string>{"cat", "dog", "emu"});
  const auto test = std::make_shared<FakeInputs>(20, image, std::vector<std::string>{"cat", "emu"});
  EXPECT_EQ(Text(MakeJobPlan(SmallJob(), {train, test}).status()),
            "job.yaml:9:5: the classes to test are cat, emu but those to train are cat, dog, emu");
}

TEST(JobPlan, RefusesATestSetThatMayOverlap) {
  class Overlapping : public FakeInputs {
   public:
    using FakeInputs::FakeInputs;
    absl::Status CheckBeside(const Dataset&) const override { return absl::InvalidArgumentError("overlaps"); }
  };
  const std::vector<nn::InputSpec> image = {{"image", {1, 2, 2}}};
  const auto test = std::make_shared<Overlapping>(20, image);
  EXPECT_EQ(Text(MakeJobPlan(SmallJob(), {MakeFakeDataset(47), test}).status()), "job.yaml:9:5: overlaps");
}

TEST(JobPlan, AugmentsWhatIsAnImageByLessThanItsSize) {
  JobSpec job = SmallJob();
  EXPECT_FALSE(MakeAugmentation(job).has_value()) << "none by default";
  job.data.augment = {.flip = true, .crop_padding = 1};
  EXPECT_TRUE(MakeJobPlan(job, {MakeFakeDataset(47), nullptr}).ok());
  ASSERT_TRUE(MakeAugmentation(job).has_value());
  const auto same = Augmentation(job.seed, {.flip = true, .crop_padding = 1});
  for (uint32_t sample = 0; sample < 20; ++sample) {
    EXPECT_EQ(MakeAugmentation(job)->ChangeOf(2, sample).down, same.ChangeOf(2, sample).down);
    EXPECT_EQ(MakeAugmentation(job)->ChangeOf(2, sample).flip, same.ChangeOf(2, sample).flip);
  }
  job.data.augment.crop_padding = 2;
  EXPECT_EQ(Text(MakeJobPlan(job, {MakeFakeDataset(47), nullptr}).status()),
            "data.augment crops by 2 pixels may leave nothing of image [1,2,2]");
  job = TwoInputJob();
  job.data.augment.flip = true;
  EXPECT_TRUE(MakeJobPlan(job, {TwoInputData(47), nullptr}).ok());
  EXPECT_THAT(Text(MakeJobPlan(job, {TwoInputData(47, {{"spectrum", {144}}}), nullptr}).status()),
              HasSubstr("data.augment has no image [C,H,W] to change: samples have spectrum [144]"));
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
