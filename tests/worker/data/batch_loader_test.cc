#include "worker/data/batch_loader.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/fake_dataset.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pointwise;

std::shared_ptr<const Dataset> ThreeImages() {
  return std::make_shared<FakeDataset>(Shape{1, 1, 2}, std::vector<uint8_t>{0, 51, 102, 153, 204, 255});
}

Normalization Plain() { return *Normalization::Create({0}, {1.0 / 255}); }

TEST(BatchLoader, GathersSamplesInTheGivenOrder) {
  BatchLoader loader = *BatchLoader::Create(ThreeImages(), Plain());
  const std::vector<uint32_t> indices = {2, 0, 2};
  const nn::Batch batch = loader.Load(indices);
  EXPECT_EQ(batch.size(), 3);
  EXPECT_THAT(batch.labels, ElementsAre(2, 0, 2));
  EXPECT_THAT(batch.inputs[0], ElementsAre(204, 255, 0, 51, 204, 255));
}

TEST(BatchLoader, BatchesMayGrowAndShrink) {
  BatchLoader loader = *BatchLoader::Create(ThreeImages(), Plain());
  EXPECT_EQ(loader.Load(std::vector<uint32_t>{0, 1, 2}).inputs[0].size(), 6U);
  EXPECT_THAT(loader.Load(std::vector<uint32_t>{1}).inputs[0], ElementsAre(102, 153));
  EXPECT_THAT(loader.Load({}).labels, IsEmpty());
}

std::shared_ptr<const Dataset> TwoInputs() {
  return std::make_shared<TwoInputDataset>(std::vector<float>{1, 2, 3, 4},
                                           std::vector<uint8_t>{1, 2, 3, 4, 5, 6, 7, 8});
}

// Mean 0 and std 1 in the units of what is stored.
Normalization PlainOfTwo() {
  const TwoInputDataset unit({1, 1, -1, -1}, {0, 0, 0, 0, 255, 255, 255, 255});
  return *Normalization::Measure(unit);
}

TEST(BatchLoader, GathersEveryInput) {
  BatchLoader loader = *BatchLoader::Create(TwoInputs(), PlainOfTwo());
  const nn::Batch batch = loader.Load(std::vector<uint32_t>{1, 0});
  ASSERT_EQ(batch.inputs.size(), 2U);
  EXPECT_THAT(batch.inputs[0], ElementsAre(3, 4, 1, 2));
  EXPECT_THAT(batch.inputs[1],
              Pointwise(FloatNear(1e-6F),
                        std::vector<float>{5 / 127.5F - 1, 6 / 127.5F - 1, 7 / 127.5F - 1, 8 / 127.5F - 1,
                                           1 / 127.5F - 1, 2 / 127.5F - 1, 3 / 127.5F - 1, 4 / 127.5F - 1}));
  EXPECT_THAT(batch.labels, ElementsAre(1, 0));
}

// 200 different pixels, so that no two shifts look alike.
std::shared_ptr<const Dataset> OneLongImage() {
  std::vector<uint8_t> pixels(200);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i + 1);
  return std::make_shared<FakeDataset>(Shape{1, 10, 20}, pixels);
}

std::vector<float> FirstInput(const nn::Batch& batch) {
  return {batch.inputs[0].begin(), batch.inputs[0].end()};
}

TEST(BatchLoader, TrainsOnTheAugmentedSampleAndEvaluatesOnTheSampleItself) {
  const Augmentation augmentation(5, {.flip = true, .crop_padding = 3});
  const std::vector<uint32_t> indices = {0};
  BatchLoader plain = *BatchLoader::Create(OneLongImage(), Plain());
  BatchLoader augmented = *BatchLoader::Create(OneLongImage(), Plain(), augmentation);
  const std::vector<float> original = FirstInput(plain.Load(indices));
  bool changed = false;
  for (int64_t epoch = 0; epoch < 5; ++epoch) {
    const std::vector<float> trained = FirstInput(augmented.LoadForTraining(indices, epoch));
    std::vector<uint8_t> stored(200), expected(200);
    for (size_t i = 0; i < stored.size(); ++i) stored[i] = static_cast<uint8_t>(i + 1);
    Augmentation::Apply(augmentation.ChangeOf(epoch, 0), {1, 10, 20}, absl::MakeConstSpan(stored),
                        absl::MakeSpan(expected));
    EXPECT_EQ(trained, std::vector<float>(expected.begin(), expected.end())) << "epoch " << epoch;
    EXPECT_EQ(FirstInput(augmented.Load(indices)), original) << "evaluation is never augmented";
    EXPECT_EQ(FirstInput(plain.LoadForTraining(indices, epoch)), original)
        << "nor is a job that asks for nothing";
    changed = changed || trained != original;
  }
  EXPECT_TRUE(changed);
}

TEST(BatchLoader, PadsBeforeNormalisation) {
  const Normalization shifted = *Normalization::Create({0.5}, {0.5});  // stored 0 becomes -1
  BatchLoader loader = *BatchLoader::Create(OneLongImage(), shifted, Augmentation(5, {.crop_padding = 9}));
  int64_t padded = 0;
  for (int64_t epoch = 0; epoch < 10; ++epoch) {
    const nn::Batch batch = loader.LoadForTraining(std::vector<uint32_t>{0}, epoch);
    for (const float value : batch.inputs[0]) padded += value == -1 ? 1 : 0;
  }
  EXPECT_GT(padded, 0);
}

TEST(BatchLoader, AugmentsTheImagesOfASampleAndNotItsRows) {
  BatchLoader loader = *BatchLoader::Create(TwoInputs(), PlainOfTwo(), Augmentation(1, {.flip = true}));
  bool flipped = false;
  for (int64_t epoch = 0; epoch < 20; ++epoch) {
    const nn::Batch batch = loader.LoadForTraining(std::vector<uint32_t>{0}, epoch);
    EXPECT_THAT(batch.inputs[0], ElementsAre(1, 2));
    flipped = flipped || batch.inputs[1][0] > batch.inputs[1][1];
  }
  EXPECT_TRUE(flipped);
}

TEST(BatchLoader, RefusesANormalizationOfAnotherNumberOfInputs) {
  EXPECT_EQ(BatchLoader::Create(TwoInputs(), Plain()).status().message(),
            "normalization is given for 1 inputs, the data has 2");
}

TEST(BatchLoader, RefusesANormalizationOfOtherChannels) {
  const absl::Status status =
      BatchLoader::Create(ThreeImages(), *Normalization::Create({0, 0}, {1, 1})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 channels"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("[1,1,2]"));
}

}  // namespace
}  // namespace tessera
