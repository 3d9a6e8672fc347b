#include "common/random.h"

#include <algorithm>
#include <map>
#include <numeric>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;

// From the known-answer vectors that Random123 comes with (kat_vectors, "philox4x32 10").
TEST(Philox, GivesTheKnownAnswers) {
  EXPECT_THAT(Philox4x32({0, 0, 0, 0}, {0, 0}), ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr uint32_t kOnes = 0xffffffff;
  EXPECT_THAT(Philox4x32({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
}

TEST(RandomStream, DrawsAreThoseOfTheirBlock) {
  const RandomStream stream(7, RandomPurpose::kDropout, 3, 4);
  for (uint64_t block : {uint64_t{0}, uint64_t{5}, uint64_t{1} << 40}) {
    const std::array<uint32_t, 4> draws = stream.Block(block);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(stream.Bits(4 * block + i), draws[i]);
  }
}

// Committed draws: a change here changes the results of every job.
TEST(RandomStream, KeepsItsPromiseOfEqualBits) {
  EXPECT_THAT(RandomStream(1, RandomPurpose::kInitialWeights).Block(0),
              ElementsAre(0xa617ab02, 0x3df97bb8, 0xbb6ba8af, 0xb55e51a4));
  EXPECT_THAT(
      RandomStream(0x123456789abcdef, RandomPurpose::kSampleOrder, 0xfedcba987654321, 9).Block(0x1ffffffff),
      ElementsAre(0x2e62f9d6, 0x81cd22cb, 0xdfadd0f3, 0x13f27948));
}

TEST(RandomStream, EveryPartOfTheKeyCounts) {
  const uint64_t high = uint64_t{1} << 32;
  const std::vector<RandomStream> streams = {RandomStream(1, RandomPurpose::kDropout, 2, 3),
                                             RandomStream(2, RandomPurpose::kDropout, 2, 3),
                                             RandomStream(1 + high, RandomPurpose::kDropout, 2, 3),
                                             RandomStream(1, RandomPurpose::kSampleOrder, 2, 3),
                                             RandomStream(1, RandomPurpose::kDropout, 3, 3),
                                             RandomStream(1, RandomPurpose::kDropout, 2 + high, 3),
                                             RandomStream(1, RandomPurpose::kDropout, 2, 4)};
  for (size_t i = 0; i < streams.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_NE(streams[i].Block(0), streams[j].Block(0)) << i << ", " << j;
  }
}

TEST(RandomStream, UniformLiesInTheHalfOpenUnitInterval) {
  EXPECT_EQ(UniformFromBits(0), 0.0F);
  EXPECT_EQ(UniformFromBits(0xffffffff), 1.0F - 0x1p-24F);
  const RandomStream stream(3, RandomPurpose::kAugmentation);
  double sum = 0;
  for (uint64_t i = 0; i < 100'000; ++i) sum += stream.Uniform(i);
  EXPECT_NEAR(sum / 100'000, 0.5, 0.005);
}

TEST(RandomStream, BelowReachesEveryValueAboutEquallyOften) {
  const RandomStream stream(3, RandomPurpose::kSampleOrder);
  std::vector<int> counts(7);
  for (uint64_t i = 0; i < 70'000; ++i) ++counts[stream.Below(i, 7)];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 500);
  EXPECT_EQ(stream.Below(5, 1), 0U);
}

TEST(HashName, IsFnv1a) {
  EXPECT_EQ(HashName(""), 0xcbf29ce484222325);
  EXPECT_EQ(HashName("a"), 0xaf63dc4c8601ec8c);
  EXPECT_EQ(HashName("foobar"), 0x85944171f73967e8);
}

TEST(Permutation, HoldsEveryNumberOnce) {
  for (const uint32_t n : {0U, 1U, 2U, 17U, 60'000U}) {
    std::vector<uint32_t> order = Permutation(n, RandomStream(1, RandomPurpose::kSampleOrder));
    std::sort(order.begin(), order.end());
    std::vector<uint32_t> all(n);
    std::iota(all.begin(), all.end(), 0U);
    EXPECT_EQ(order, all);
  }
}

TEST(Permutation, KeepsItsPromiseOfEqualBits) {
  EXPECT_THAT(Permutation(10, RandomStream(1, RandomPurpose::kSampleOrder, 0)),
              ElementsAre(6, 2, 4, 5, 3, 1, 9, 8, 0, 7));
  std::vector<uint32_t> order = Permutation(60'000, RandomStream(1, RandomPurpose::kSampleOrder, 1));
  order.resize(8);
  EXPECT_THAT(order, ElementsAre(49613, 53896, 23155, 24497, 54160, 40986, 22573, 51422));
}

// All 24 orders of four numbers, over many streams.
TEST(Permutation, IsUnbiased) {
  std::map<std::vector<uint32_t>, int> counts;
  for (uint64_t epoch = 0; epoch < 24'000; ++epoch) {
    ++counts[Permutation(4, RandomStream(1, RandomPurpose::kSampleOrder, epoch))];
  }
  EXPECT_EQ(counts.size(), 24U);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 1000, 160);
}

}  // namespace
}  // namespace tessera
