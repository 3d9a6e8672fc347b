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

}  // namespace
}  // namespace tessera
