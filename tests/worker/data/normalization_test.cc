#include "worker/data/normalization.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/fake_dataset.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Normalization, AppliesItsFormulaPerChannel) {
  const auto normalization = InputNormalization::Create({0.5, 0.25}, {0.5, 2});
  ASSERT_TRUE(normalization.ok()) << normalization.status();
  const std::vector<uint8_t> pixels = {0, 255, 51, 0, 255, 102};
  std::vector<float> out(6);
  normalization->Apply(absl::MakeConstSpan(pixels), absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(-1.0F, 1.0F, static_cast<float>((51 / 255.0 - 0.5) / 0.5), -0.125F, 0.375F,
                               static_cast<float>((102 / 255.0 - 0.25) / 2)));
}

TEST(Normalization, MeasuresEachChannelOverAllImages) {
  // Two images of [2,1,2]: channel 0 sees 0, 255, 0, 255; channel 1 sees 51, 51, 102, 204.
  const FakeDataset dataset({2, 1, 2}, {0, 255, 51, 51, 0, 255, 102, 204});
  const InputNormalization measured = InputNormalization::Measure(dataset, 0);
  EXPECT_THAT(measured.mean(), ElementsAre(0.5, 0.4));
  EXPECT_EQ(measured.std()[0], 0.5);
  EXPECT_NEAR(measured.std()[1], std::sqrt((0.04 + 0.04 + 0 + 0.16) / 4), 1e-15);
}

TEST(Normalization, ChannelWithoutVarianceKeepsItsScale) {
  const InputNormalization measured =
      InputNormalization::Measure(FakeDataset({1, 1, 2}, {51, 51, 51, 51}), 0);
  EXPECT_THAT(measured.mean(), ElementsAre(0.2));
  EXPECT_THAT(measured.std(), ElementsAre(1.0));
}

TEST(Normalization, MeasuredDataHasMeanZeroAndVarianceOne) {
  std::vector<uint8_t> pixels(600);
  for (size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<uint8_t>(i * i);
  const FakeDataset dataset({1, 10, 10}, pixels);
  std::vector<float> out(600);
  InputNormalization::Measure(dataset, 0).Apply(absl::MakeConstSpan(pixels), absl::MakeSpan(out));
  double sum = 0;
  double squares = 0;
  for (const float value : out) {
    sum += value;
    squares += double{value} * value;
  }
  EXPECT_NEAR(sum / 600, 0, 1e-6);
  EXPECT_NEAR(squares / 600, 1, 1e-6);
}

TEST(Normalization, ManyChannelsOfPixelsComeOutAsFewDo) {
  constexpr size_t kChannels = 100;  // more than a table is made for
  std::vector<double> mean(kChannels, 0.3), std(kChannels, 0.7);
  std::vector<uint8_t> pixels(kChannels);
  for (size_t i = 0; i < kChannels; ++i) pixels[i] = static_cast<uint8_t>(2 * i);
  std::vector<float> many(kChannels), few(kChannels);
  InputNormalization::Create(mean, std)->Apply(absl::MakeConstSpan(pixels), absl::MakeSpan(many));
  InputNormalization::Create({0.3}, {0.7})->Apply(absl::MakeConstSpan(pixels), absl::MakeSpan(few));
  EXPECT_EQ(many, few);
}

TEST(Normalization, MeasuresEveryInputByItself) {
  // A row of two features in numbers, and an image [2,1,2] in pixels.
  const TwoInputDataset dataset({1, -10, 3, -10, 5, -10, 7, -10},
                                {0, 255, 51, 51, 0, 255, 51, 51, 0, 255, 102, 102, 0, 255, 102, 102});
  const absl::StatusOr<Normalization> measured = Normalization::Measure(dataset);
  ASSERT_TRUE(measured.ok()) << measured.status();
  ASSERT_EQ(measured->inputs().size(), 2U);
  EXPECT_THAT(measured->inputs()[0].mean(), ElementsAre(4, -10));
  EXPECT_THAT(measured->inputs()[0].std(), ElementsAre(std::sqrt(5.0), 1)) << "numbers are not pixels";
  EXPECT_THAT(measured->inputs()[1].mean(), ElementsAre(0.5, 0.3));
  EXPECT_EQ(measured->inputs()[1].std()[0], 0.5);
}

TEST(Normalization, NumbersAreTakenAsTheyAre) {
  const auto normalization = InputNormalization::Create({4, -10}, {2, 1});
  const std::vector<float> numbers = {8, -10, /**/ 0, 5};
  std::vector<float> out(2);
  normalization->Apply(absl::MakeConstSpan(numbers).first(2), absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(2, 0));
  normalization->Apply(absl::MakeConstSpan(numbers).last(2), absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(-2, 15));
}

TEST(Normalization, MeasuringLoadsTheDataAndPassesItsErrorOn) {
  class Damaged : public FakeDataset {
   public:
    using FakeDataset::FakeDataset;
    absl::Status Load() const override { return absl::DataLossError("image 7 is damaged"); }
  };
  EXPECT_EQ(Normalization::Measure(Damaged({1, 1, 1}, {0, 1})).status().message(), "image 7 is damaged");
}

TEST(Normalization, RefusesWhatIsNoNormalization) {
  const auto error = [](std::vector<double> mean, std::vector<double> std) {
    const absl::Status status = InputNormalization::Create(std::move(mean), std::move(std)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(error({0.5}, {0.5, 0.5}), HasSubstr("1 means and 2 standard deviations"));
  EXPECT_THAT(error({}, {}), HasSubstr("0 means"));
  EXPECT_THAT(error({0, 0}, {1, 0}), HasSubstr("channel 1"));
  EXPECT_THAT(error({0}, {-1}), HasSubstr("std -1"));
  EXPECT_THAT(error({kNan}, {1}), HasSubstr("channel 0"));
  EXPECT_THAT(error({0}, {kNan}), HasSubstr("channel 0"));
}

}  // namespace
}  // namespace tessera
