// What the build with TESSERA_SANITIZE=address must report, and end with.
#include <gtest/gtest.h>

#include <climits>
#include <cmath>
#include <cstdlib>
#include <memory>
#include <vector>

namespace tessera {
namespace {

// What the compiler cannot know, so that it neither warns nor removes the mistake.
template <typename T>
T Opaque(T value) {
  volatile T hidden = value;
  return hidden;
}

TEST(AddressSanitizerDeathTest, ReportsAReadBehindABuffer) {
  const auto buffer = std::make_unique<float[]>(4);
  EXPECT_DEATH(Opaque(buffer.get()[Opaque(4)]), "heap-buffer-overflow");
}

TEST(AddressSanitizerDeathTest, ReportsAReadOfWhatWasDeleted) {
  int* const value = new int(1);
  delete value;
  EXPECT_DEATH(Opaque(*Opaque(value)), "heap-use-after-free");
}

TEST(AddressSanitizerDeathTest, ReportsALeak) {
  EXPECT_EXIT(
      {
        for (int i = 0; i < 10; ++i) Opaque(new int[100]);  // the last may still lie in a register
        std::exit(0);
      },
      testing::ExitedWithCode(1), "LeakSanitizer: detected memory leaks");
}

TEST(AddressSanitizerDeathTest, ReportsAnIndexBeyondAVectorsSize) {
  std::vector<int> values(3);
  values.reserve(10);
  EXPECT_DEATH(Opaque(values[Opaque(5)]), "Assertion '__n < this->size\\(\\)' failed");
}

TEST(UndefinedBehaviorSanitizerDeathTest, ReportsASignedOverflow) {
  EXPECT_DEATH(Opaque(Opaque(INT_MAX) + 1), "signed integer overflow");
}

TEST(UndefinedBehaviorSanitizerDeathTest, ReportsAnIntegerThatCannotHoldAFloat) {
  EXPECT_DEATH(Opaque(static_cast<int>(Opaque(1e20))), "outside the range of representable values");
}

}  // namespace
}  // namespace tessera
