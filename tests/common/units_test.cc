#include "common/units.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

std::string SizeError(const std::string& text) {
  const absl::Status status = ParseBytes(text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(status.message());
}

std::string TimeError(const std::string& text) {
  const absl::Status status = ParseDuration(text).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(status.message());
}

TEST(ParseBytes, KnowsBinaryAndDecimalUnits) {
  EXPECT_EQ(*ParseBytes("512KiB"), 524'288);
  EXPECT_EQ(*ParseBytes("1MiB"), 1'048'576);
  EXPECT_EQ(*ParseBytes("2GiB"), 2'147'483'648);
  EXPECT_EQ(*ParseBytes("1MB"), 1'000'000);
  EXPECT_EQ(*ParseBytes("100B"), 100);
  EXPECT_EQ(*ParseBytes("100"), 100);
  EXPECT_EQ(*ParseBytes(" 3 KiB "), 3072);
}

TEST(ParseBytes, SaysWhatIsWrong) {
  EXPECT_THAT(SizeError("1MiBB"), HasSubstr("no such unit `MiBB`"));
  EXPECT_THAT(SizeError("1.5MiB"), HasSubstr("no such unit `.5MiB`"));
  EXPECT_THAT(SizeError("-1"), HasSubstr("negative"));
  EXPECT_THAT(SizeError(""), HasSubstr("whole number"));
  EXPECT_THAT(SizeError("MiB"), HasSubstr("whole number"));
  EXPECT_THAT(SizeError("9223372036854775808"), HasSubstr("63 bits"));
  EXPECT_THAT(SizeError("8388608TiB"), HasSubstr("63 bits"));
}

TEST(FormatBytes, GivesTheShortestExactForm) {
  EXPECT_EQ(FormatBytes(0), "0B");
  EXPECT_EQ(FormatBytes(1023), "1023B");
  EXPECT_EQ(FormatBytes(524'288), "512KiB");
  EXPECT_EQ(FormatBytes(1'000'000), "1MB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 30), "3GiB");
}

TEST(FormatBytes, IsReadBackExactly) {
  for (const int64_t bytes : {int64_t{0}, int64_t{1}, int64_t{4096}, int64_t{1'536'000}, INT64_MAX}) {
    EXPECT_EQ(*ParseBytes(FormatBytes(bytes)), bytes) << FormatBytes(bytes);
  }
}

TEST(ParseDuration, ReadsTimesWithUnits) {
  EXPECT_EQ(*ParseDuration("30s"), absl::Seconds(30));
  EXPECT_EQ(*ParseDuration("500ms"), absl::Milliseconds(500));
  EXPECT_EQ(*ParseDuration("2m"), absl::Minutes(2));
  EXPECT_EQ(*ParseDuration("1h"), absl::Hours(1));
  EXPECT_EQ(*ParseDuration("1.5s"), absl::Milliseconds(1500));
}

TEST(ParseDuration, SaysWhatIsWrong) {
  EXPECT_THAT(TimeError("30"), HasSubstr("has no unit"));
  EXPECT_THAT(TimeError("0"), HasSubstr("has no unit"));
  EXPECT_THAT(TimeError("-3s"), HasSubstr("negative"));
  EXPECT_THAT(TimeError("3 parsecs"), HasSubstr("no time"));
  EXPECT_THAT(TimeError("inf"), HasSubstr("`inf`"));
  EXPECT_THAT(TimeError("9000000000000000000h"), HasSubstr("no time"));
  EXPECT_THAT(TimeError(""), HasSubstr("no time"));
}

}  // namespace
}  // namespace tessera
