#include "common/exact_math.h"

#include <cmath>

#include "gtest/gtest.h"

namespace tessera {
namespace {

TEST(ExactCos, AgreesWithTheLibraryToTheLastBits) {
  constexpr int kPoints = 200'000;
  for (int i = 0; i <= kPoints; ++i) {
    const double x = M_PI * i / kPoints;
    ASSERT_NEAR(ExactCos(x), std::cos(x), 3e-16) << x;
  }
}

TEST(ExactCos, HasExactEnds) {
  EXPECT_EQ(ExactCos(0), 1.0);
  EXPECT_EQ(ExactCos(M_PI), -1.0);
  EXPECT_NEAR(ExactCos(M_PI / 2), 6.123233995736766e-17, 1e-30);
}

// Committed bits: a change here changes the results of every job with a cosine schedule.
TEST(ExactCos, KeepsItsPromiseOfEqualBits) {
  EXPECT_EQ(ExactCos(0.3), 0x1.e921dd42f09bap-1);
  EXPECT_EQ(ExactCos(1.0), 0x1.14a280fb5068cp-1);
  EXPECT_EQ(ExactCos(2.9), -0x1.f1216dba340c9p-1);
}

TEST(ExactPower, AgreesWithTheLibraryWithinItsBound) {
  for (const double base : {0.0, 1e-9, 0.1, 0.5, 0.9, 0.99, 0.999, 1 - 1e-9, 1.0}) {
    for (const double exponent :
         {0.0, 0.125, 0.5, 0.9, 1.0, 1.5, 2.0, 7.0, 10.75, 64.0, 1000.0, 123456.789}) {
      const double expected = std::pow(base, exponent);
      const double bound = (exponent + 64) * 0x1p-53 * expected + 1e-300;
      ASSERT_NEAR(ExactPower(base, exponent), expected, bound) << base << "^" << exponent;
    }
  }
}

TEST(ExactPower, IsExactWhereTheProductsAndRootsAre) {
  EXPECT_EQ(ExactPower(0, 0), 1);
  EXPECT_EQ(ExactPower(0, 0.25), 0);
  EXPECT_EQ(ExactPower(0.7, 0), 1);
  EXPECT_EQ(ExactPower(0.7, 1), 0.7);
  EXPECT_EQ(ExactPower(0.7, 2), 0.7 * 0.7);
  EXPECT_EQ(ExactPower(0.5, 13), 0x1p-13);
  EXPECT_EQ(ExactPower(0.25, 2.5), 0x1p-5);
  EXPECT_EQ(ExactPower(0.7, 0.5), std::sqrt(0.7));
}

TEST(ExactPower, EndsForAnyExponent) {
  EXPECT_EQ(ExactPower(0.999, 1e300), 0);
  EXPECT_EQ(ExactPower(1, 1e300), 1);
  EXPECT_NEAR(ExactPower(0.5, 5e-324), 1, 1e-13);
}

// Committed bits: a change here changes the results of jobs with adam, adamw, or a schedule with powers.
TEST(ExactPower, KeepsItsPromiseOfEqualBits) {
  EXPECT_EQ(ExactPower(0.999, 1000), 0x1.788526411edacp-2);
  EXPECT_EQ(ExactPower(0.9, 77), 0x1.3a3f9a390dd19p-12);
  EXPECT_EQ(ExactPower(0.3, 0.9), 0x1.5a8131b97fd7cp-2);
}

}  // namespace
}  // namespace tessera
