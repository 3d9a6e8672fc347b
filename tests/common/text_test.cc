#include "common/text.h"

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(PrintableLine, KeepsTextAndMakesControlCharactersSpaces) {
  EXPECT_EQ(PrintableLine("layer `conv1`: kernel 5"), "layer `conv1`: kernel 5");
  EXPECT_EQ(PrintableLine("two\nlines\tand \x1b[31mred\x7f"), "two lines and  [31mred ");
  EXPECT_EQ(PrintableLine("Z\u00fcrich \u2192 \U0001F600"), "Z\u00fcrich \u2192 \U0001F600");
  EXPECT_EQ(PrintableLine(""), "");
}

TEST(PrintableLine, BytesThatAreNotUtf8BecomeQuestionMarks) {
  EXPECT_EQ(PrintableLine("a\xff\xfe z"), "a?? z");
  EXPECT_EQ(PrintableLine("\xc0\xaf"), "??") << "an overlong slash";
  EXPECT_EQ(PrintableLine("\xed\xa0\x80"), "???") << "a surrogate";
  EXPECT_EQ(PrintableLine("cut \xe2\x86"), "cut ??");
}

TEST(PrintableLine, ACutLeavesWholeCharacters) {
  EXPECT_EQ(PrintableLine("abcdefgh", 8), "abcdefgh");
  EXPECT_EQ(PrintableLine("abcdefghi", 8), "abcde...");
  EXPECT_EQ(PrintableLine("abcd\u2192\u2192", 9), "abcd...");
  EXPECT_EQ(PrintableLine("abc", 2), "..");
}

}  // namespace
}  // namespace tessera
