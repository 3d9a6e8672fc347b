#include "worker/data/batch_loader.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/fake_dataset.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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
  EXPECT_THAT(batch.images, ElementsAre(204, 255, 0, 51, 204, 255));
}

TEST(BatchLoader, BatchesMayGrowAndShrink) {
  BatchLoader loader = *BatchLoader::Create(ThreeImages(), Plain());
  EXPECT_EQ(loader.Load(std::vector<uint32_t>{0, 1, 2}).images.size(), 6U);
  EXPECT_THAT(loader.Load(std::vector<uint32_t>{1}).images, ElementsAre(102, 153));
  EXPECT_THAT(loader.Load({}).labels, IsEmpty());
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
