#include "cli/text.h"

#include <cmath>
#include <cstdlib>

#include "gtest/gtest.h"

namespace tessera::cli {
namespace {

constexpr TextStyle kPlain;
constexpr TextStyle kFancy = {.color = true, .unicode = true};

TEST(Text, CountsHaveThousandsSeparators) {
  EXPECT_EQ(FormatCount(0), "0");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(999.6), "1,000");
  EXPECT_EQ(FormatCount(5012), "5,012");
  EXPECT_EQ(FormatCount(1234567), "1,234,567");
  EXPECT_EQ(FormatCount(-123456), "-123,456");
  EXPECT_EQ(FormatCount(NAN), "?");
}

TEST(Text, SecondsGrowIntoMinutesAndHours) {
  EXPECT_EQ(FormatSeconds(0.4), "0 s");
  EXPECT_EQ(FormatSeconds(59.4), "59 s");
  EXPECT_EQ(FormatSeconds(59.6), "1 min 00 s");
  EXPECT_EQ(FormatSeconds(125), "2 min 05 s");
  EXPECT_EQ(FormatSeconds(3720), "1 h 02 min");
  EXPECT_EQ(FormatSeconds(INFINITY), "?");
}

TEST(Text, LossesThatAreNoNumbersAreSaidSo) {
  EXPECT_EQ(FormatLoss(0.31214), "0.3121");
  EXPECT_EQ(FormatLoss(123456), "1.235e+05");
  EXPECT_EQ(FormatLoss(NAN), "nan");
  EXPECT_EQ(FormatAccuracy(0.89314), "0.8931");
}

TEST(Text, SizesHaveBinaryUnits) {
  EXPECT_EQ(FormatSize(512), "512 B");
  EXPECT_EQ(FormatSize(512 * 1024), "512 KiB");
  EXPECT_EQ(FormatSize(1'782'579), "1.7 MiB");
}

TEST(Text, ExactNumbersReadBackAsTheSame) {
  for (const double value : {0.1, 1.0 / 3, 0.2531234567890123, 1e-300}) {
    EXPECT_EQ(std::strtod(FormatExact(value).c_str(), nullptr), value);
  }
  EXPECT_EQ(FormatExact(0.88), "0.88");
}

TEST(Text, WidthCountsCharactersAndNotColours) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("━━"), 2);
  EXPECT_EQ(DisplayWidth(Paint(kFancy, Tone::kGood, "abc")), 3);
}

TEST(Text, NoColourMeansNoEscape) {
  EXPECT_EQ(Paint(kPlain, Tone::kBad, "abc"), "abc");
  EXPECT_NE(Paint(kFancy, Tone::kBad, "abc"), "abc");
}

TEST(Text, LongLinesAreCutBetweenCharacters) {
  EXPECT_EQ(FitWidth("abcdef", 4), "abcd");
  EXPECT_EQ(FitWidth("abcd", 4), "abcd");
  EXPECT_EQ(FitWidth("━━━", 2), "━━");
}

TEST(Text, CutColoursAreClosed) {
  const std::string cut = FitWidth(Paint(kFancy, Tone::kBad, "abcdef"), 3);
  EXPECT_EQ(DisplayWidth(cut), 3);
  EXPECT_TRUE(cut.ends_with("\x1b[0m"));
}

TEST(Text, BarsHaveTheirWidthWhateverTheFraction) {
  for (const double fraction : {-1.0, 0.0, 0.3, 1.0, 2.0, std::nan("")}) {
    EXPECT_EQ(DisplayWidth(FormatBar(kFancy, fraction, 20)), 20) << fraction;
  }
  EXPECT_EQ(FormatBar(kPlain, 0.5, 8), "####....");
  EXPECT_EQ(FormatBar(kPlain, 1.0, 4), "####");
}

}  // namespace
}  // namespace tessera::cli
