#include "worker/data/image.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/worker/data/image_writer.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;

TEST(Image, GreyIsTheWeightedMeanOfTheColours) {
  const Image grey = ToGrey({3, 1, 5, {255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 7, 7, 7}});
  EXPECT_EQ(grey.channels, 1);
  EXPECT_THAT(grey.pixels, ElementsAre(76, 150, 29, 255, 7));  // as Pillow's
}

TEST(Image, ColourOfGreyIsThreeTimesTheSame) {
  EXPECT_THAT(ToColour({1, 1, 2, {5, 9}}).pixels, ElementsAre(5, 5, 5, 9, 9, 9));
}

TEST(Image, PlanesHaveOneChannelAfterTheOther) {
  std::vector<uint8_t> planes(6);
  CopyPlanes({3, 1, 2, {1, 2, 3, 4, 5, 6}}, absl::MakeSpan(planes));
  EXPECT_THAT(planes, ElementsAre(1, 4, 2, 5, 3, 6));
}

TEST(Resize, ToItsOwnSizeChangesNothing) {
  const Image image = Gradient(3, 5, 7);
  EXPECT_EQ(Resize(image, 5, 7).pixels, image.pixels);
}

TEST(Resize, GrowsByWeightsOfTheTwoNearest) {
  EXPECT_THAT(Resize({1, 1, 2, {0, 100}}, 1, 4).pixels, ElementsAre(0, 25, 75, 100));
  EXPECT_THAT(Resize({1, 2, 1, {0, 100}}, 4, 1).pixels, ElementsAre(0, 25, 75, 100));
}

TEST(Resize, ShrinksWithoutLeavingAPixelOut) {
  // The triangle of half the size reaches over four pixels, three at the border: weights 3, 3, 1 of 7 and 1,
  // 3, 3.
  EXPECT_THAT(Resize({1, 1, 4, {70, 0, 0, 0}}, 1, 2).pixels, ElementsAre(30, 0));
  EXPECT_THAT(Resize({1, 1, 4, {0, 70, 0, 0}}, 1, 2).pixels, ElementsAre(30, 10));
}

// PIL.Image.fromarray(x).resize((3, 2), BILINEAR) of x[i, j] = (37 i + 11 j j) % 256, 5x7.
TEST(Resize, IsPillowsWithinOneLevel) {
  Image image{1, 5, 7, {}};
  for (int i = 0; i < 5; ++i) {
    for (int j = 0; j < 7; ++j) image.pixels.push_back(static_cast<uint8_t>((37 * i + 11 * j * j) % 256));
  }
  const std::vector<uint8_t> pillow = {51, 128, 131, 125, 161, 138};
  const Image small = Resize(image, 2, 3);
  ASSERT_EQ(small.pixels.size(), pillow.size());
  for (size_t i = 0; i < pillow.size(); ++i) EXPECT_NEAR(small.pixels[i], pillow[i], 1) << i;
}

TEST(Resize, KeepsAPlainColourAndTheChannelsApart) {
  Image image{3, 9, 4, {}};
  for (int i = 0; i < 36; ++i) image.pixels.insert(image.pixels.end(), {10, 128, 255});
  const Image other = Resize(image, 2, 11);
  ASSERT_EQ(other.pixels.size(), 66U);
  for (size_t i = 0; i < other.pixels.size(); i += 3) {
    EXPECT_THAT(std::vector<uint8_t>(other.pixels.begin() + i, other.pixels.begin() + i + 3),
                ElementsAre(10, 128, 255));
  }
}

}  // namespace
}  // namespace tessera
