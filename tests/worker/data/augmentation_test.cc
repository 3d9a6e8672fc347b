#include "worker/data/augmentation.h"

#include <cstdlib>
#include <map>
#include <set>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using Change = Augmentation::Change;

std::tuple<int64_t, int64_t, bool> Parts(const Change& change) {
  return {change.down, change.right, change.flip};
}

// 1..6 as [1,2,3], changed.
std::vector<uint8_t> Changed(const Change& change) {
  const std::vector<uint8_t> image = {1, 2, 3, 4, 5, 6};
  std::vector<uint8_t> out(6, 99);
  Augmentation::Apply(change, {1, 2, 3}, absl::MakeConstSpan(image), absl::MakeSpan(out));
  return out;
}

TEST(Augmentation, NoChangeIsTheImage) { EXPECT_THAT(Changed({}), ElementsAre(1, 2, 3, 4, 5, 6)); }

TEST(Augmentation, AFlipTurnsEveryRowAround) {
  EXPECT_THAT(Changed({.flip = true}), ElementsAre(3, 2, 1, 6, 5, 4));
}

TEST(Augmentation, ACropIsAShiftWithZerosBehindIt) {
  EXPECT_THAT(Changed({.down = 1}), ElementsAre(4, 5, 6, 0, 0, 0));
  EXPECT_THAT(Changed({.down = -1}), ElementsAre(0, 0, 0, 1, 2, 3));
  EXPECT_THAT(Changed({.right = 1}), ElementsAre(2, 3, 0, 5, 6, 0));
  EXPECT_THAT(Changed({.right = -2}), ElementsAre(0, 0, 1, 0, 0, 4));
  EXPECT_THAT(Changed({.down = 1, .right = -1}), ElementsAre(0, 4, 5, 0, 0, 0));
}

TEST(Augmentation, TheCropIsWhatIsFlipped) {
  EXPECT_THAT(Changed({.right = 1, .flip = true}), ElementsAre(0, 3, 2, 0, 6, 5));
}

TEST(Augmentation, ChannelsAndKindsOfValuesAreChangedAlike) {
  const std::vector<float> image = {1, 2, 3, 4, 10, 20, 30, 40};
  std::vector<float> out(8, -1);
  Augmentation::Apply(Change{.right = -1, .flip = true}, {2, 2, 2}, absl::MakeConstSpan(image),
                      absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(1, 0, 3, 0, 10, 0, 30, 0));
}

TEST(Augmentation, IsAFunctionOfSeedEpochAndSample) {
  const AugmentationOptions options = {.flip = true, .crop_padding = 4};
  const Augmentation one(7, options), same(7, options), other(8, options);
  std::set<std::tuple<int64_t, int64_t, bool>> over_epochs, over_samples;
  bool differs = false;
  for (uint32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(Parts(one.ChangeOf(i, 3)), Parts(same.ChangeOf(i, 3)));
    differs = differs || Parts(one.ChangeOf(i, 3)) != Parts(other.ChangeOf(i, 3));
    over_epochs.insert(Parts(one.ChangeOf(i, 3)));
    over_samples.insert(Parts(one.ChangeOf(3, i)));
  }
  EXPECT_TRUE(differs) << "by seed";
  EXPECT_GT(over_epochs.size(), 30U);
  EXPECT_GT(over_samples.size(), 30U);
}

// The very draws are part of the promise of equal bits: a run that goes on tomorrow must see the same images.
TEST(Augmentation, DrawsNeverChange) {
  const Augmentation augmentation(1, {.flip = true, .crop_padding = 4});
  std::vector<std::tuple<int64_t, int64_t, bool>> draws;
  for (uint32_t sample : {0U, 1U, 59'999U}) draws.push_back(Parts(augmentation.ChangeOf(2, sample)));
  EXPECT_THAT(draws,
              ElementsAre(std::tuple(4, 4, false), std::tuple(-4, -2, false), std::tuple(0, 0, false)));
}

TEST(Augmentation, EveryShiftAndBothSidesAreAsLikely) {
  constexpr int kPadding = 2, kDraws = 20'000, kShifts = 2 * kPadding + 1;
  const Augmentation augmentation(3, {.flip = true, .crop_padding = kPadding});
  std::map<std::tuple<int64_t, int64_t, bool>, int> counts;
  for (uint32_t sample = 0; sample < kDraws; ++sample) ++counts[Parts(augmentation.ChangeOf(0, sample))];
  ASSERT_EQ(counts.size(), size_t{kShifts * kShifts * 2});
  const double expected = double{kDraws} / (kShifts * kShifts * 2);
  double chi_squared = 0;  // 49 degrees of freedom: above 95 once in ten thousand seeds; this seed is fixed
  for (const auto& [change, count] : counts) {
    EXPECT_LE(std::abs(std::get<0>(change)), kPadding);
    EXPECT_LE(std::abs(std::get<1>(change)), kPadding);
    chi_squared += (count - expected) * (count - expected) / expected;
  }
  EXPECT_LT(chi_squared, 95);
}

TEST(Augmentation, FlipAndCropMayBeTurnedOnAlone) {
  const Augmentation both(3, {.flip = true, .crop_padding = 4}), crop(3, {.crop_padding = 4}),
      flip(3, {.flip = true});
  for (uint32_t sample = 0; sample < 50; ++sample) {
    const Change all = both.ChangeOf(1, sample);
    EXPECT_EQ(Parts(crop.ChangeOf(1, sample)), Parts({all.down, all.right, false}));
    EXPECT_EQ(Parts(flip.ChangeOf(1, sample)), Parts({0, 0, all.flip}));
  }
}

}  // namespace
}  // namespace tessera
