#include "worker/nn/dropout_mask.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace tessera::nn {
namespace {

constexpr StepKey kKey = {.seed = 7, .replica = 2, .clock = 100};

std::vector<uint8_t> Draw(const DropoutMask& mask, uint64_t first, size_t count) {
  std::vector<uint8_t> kept(count, 9);
  mask.Fill(first, absl::MakeSpan(kept));
  return kept;
}

std::vector<uint8_t> Draw(const StepKey& key, const std::string& layer) {
  return Draw(DropoutMask(key, layer, 0.5), 0, 256);
}

// Committed draws: a change here changes the results of every job with dropout.
TEST(DropoutMask, KeepsItsPromiseOfEqualBits) {
  std::string text;
  for (uint8_t kept : Draw(DropoutMask(kKey, "classifier.0", 0.5), 0, 40)) text += kept ? '1' : '0';
  EXPECT_EQ(text, "0110011110110001000110111101011011010111");
}

TEST(DropoutMask, APieceIsThatPartOfTheWhole) {
  const DropoutMask mask(kKey, "drop", 0.3);
  const std::vector<uint8_t> whole = Draw(mask, 0, 64);
  for (uint64_t first = 0; first < 9; ++first) {
    for (size_t count : {0, 1, 2, 3, 4, 5, 11, 50}) {
      const std::vector<uint8_t> expected(whole.begin() + first, whole.begin() + first + count);
      EXPECT_EQ(Draw(mask, first, count), expected) << first << ", " << count;
    }
  }
  for (uint64_t i = 0; i < whole.size(); ++i) EXPECT_EQ(mask.Keeps(i), whole[i] == 1) << i;
}

TEST(DropoutMask, EveryPartOfTheKeyCounts) {
  const int64_t far = int64_t{1} << 32;
  const std::vector<std::vector<uint8_t>> masks = {Draw(kKey, "drop"),
                                                   Draw({8, 2, 100}, "drop"),
                                                   Draw({7, 3, 100}, "drop"),
                                                   Draw({7, 2, 101}, "drop"),
                                                   Draw(kKey, "drop2"),
                                                   Draw({7, 2, 100 + far}, "drop"),
                                                   Draw({7 + far, 2, 100}, "drop"),
                                                   Draw({7, 100, 2}, "drop")};
  for (size_t i = 0; i < masks.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(masks[i], masks[j]) << i << ", " << j;
  }
  EXPECT_EQ(Draw(kKey, "drop"), masks[0]);
}

// The bound is five standard deviations of a binomial; the draws are fixed, so it holds always or never.
TEST(DropoutMask, DropsThePartThatIsAskedFor) {
  constexpr size_t kCount = 100000;
  for (double p : {0.0, 0.1, 0.5, 0.9}) {
    double kept = 0;
    for (uint8_t one : Draw(DropoutMask(kKey, "drop", p), 0, kCount)) kept += one;
    EXPECT_NEAR(kept / kCount, 1 - p, 5 * std::sqrt(p * (1 - p) / kCount)) << p;
  }
}

TEST(DropoutMask, WhatSurvivesALargerPSurvivesASmallerOne) {
  const auto few = Draw(DropoutMask(kKey, "drop", 0.7), 0, 500);
  const auto many = Draw(DropoutMask(kKey, "drop", 0.4), 0, 500);
  for (size_t i = 0; i < few.size(); ++i) EXPECT_LE(few[i], many[i]) << i;
}

}  // namespace
}  // namespace tessera::nn
