#include "common/options.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Options At(const std::string& name, std::variant<std::string, std::vector<std::string>> value) {
  Options options;
  options.set_where("job.yaml:3:5");
  options.Set(name, {std::move(value), "job.yaml:4:9"});
  return options;
}

// The message of a failed read, which must be kInvalidArgument.
template <typename T>
std::string ErrorOf(const absl::StatusOr<T>& result) {
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(result.status().message());
}

TEST(Options, ReadsEachType) {
  Options options({{"lr", "5e-4"}, {"kernel", "5"}, {"nesterov", "true"}, {"path", "/data"}});
  EXPECT_EQ(*options.Number("lr", 0, 0, 1), 5e-4);
  EXPECT_EQ(*options.Integer("kernel", 0, 1, 11), 5);
  EXPECT_TRUE(*options.Bool("nesterov", false));
  EXPECT_EQ(*options.String("path", ""), "/data");
  EXPECT_TRUE(options.Finish("test").ok());
}

TEST(Options, AbsentOnesGiveTheFallback) {
  Options options;
  EXPECT_EQ(*options.Number("lr", 7, 0, 1), 7);
  EXPECT_EQ(*options.Integer("kernel", 3, 1, 2), 3);
  EXPECT_TRUE(*options.Bool("nesterov", true));
  EXPECT_EQ(*options.String("path", "here"), "here");
  EXPECT_THAT(*options.StringList("inputs"), IsEmpty());
}

TEST(Options, ListsMayBeOneValue) {
  EXPECT_THAT(*At("inputs", std::vector<std::string>{"a", "b"}).StringList("inputs"), ElementsAre("a", "b"));
  EXPECT_THAT(*At("inputs", "a").StringList("inputs"), ElementsAre("a"));
}

TEST(Options, RangeErrorsNamePositionAndBounds) {
  EXPECT_EQ(ErrorOf(At("lr", "2").Number("lr", 0, 0, 1)),
            "job.yaml:4:9: `lr` must be a number from 0 to 1, not `2`");
  EXPECT_EQ(ErrorOf(At("lr", "-1").Number("lr", 0, 0, kInfinity)),
            "job.yaml:4:9: `lr` must be a number of at least 0, not `-1`");
  EXPECT_EQ(ErrorOf(At("kernel", "12").Integer("kernel", 0, std::numeric_limits<int64_t>::min(), 11)),
            "job.yaml:4:9: `kernel` must be a whole number of at most 11, not `12`");
}

TEST(Options, TypeErrorsQuoteWhatWasWritten) {
  EXPECT_EQ(ErrorOf(At("lr", "fast").Number("lr", 0, -kInfinity, kInfinity)),
            "job.yaml:4:9: `lr` must be a number, not `fast`");
  EXPECT_EQ(ErrorOf(At("kernel", "2.5").Integer("kernel", 0, 1, 9)),
            "job.yaml:4:9: `kernel` must be a whole number from 1 to 9, not `2.5`");
  EXPECT_EQ(ErrorOf(At("nesterov", "maybe").Bool("nesterov", false)),
            "job.yaml:4:9: `nesterov` must be true or false, not `maybe`");
  EXPECT_EQ(ErrorOf(At("path", std::vector<std::string>{"a"}).String("path", "")),
            "job.yaml:4:9: `path` takes one value, not a list");
}

TEST(Options, NumbersAreFinite) {
  for (const char* text : {"nan", "inf", "-inf", "1e999", ""}) {
    EXPECT_FALSE(At("lr", text).Number("lr", 0, -kInfinity, kInfinity).ok()) << text;
  }
}

TEST(Options, MissingOnesNameThePositionOfTheWhole) {
  Options options = At("momentum", "0.9");
  EXPECT_EQ(ErrorOf(options.RequiredNumber("lr", 0, 1)), "job.yaml:3:5: missing `lr`");
  EXPECT_EQ(ErrorOf(options.RequiredInteger("kernel", 1, 9)), "job.yaml:3:5: missing `kernel`");
  EXPECT_EQ(ErrorOf(options.RequiredString("path")), "job.yaml:3:5: missing `path`");
  EXPECT_EQ(*options.RequiredNumber("momentum", 0, 1), 0.9);
}

TEST(Options, FinishNamesTheNearestKey) {
  Options options = At("momentun", "0.9");
  ASSERT_TRUE(options.Number("momentum", 0, 0, 1).ok());
  ASSERT_TRUE(options.Number("lr", 0, 0, 1).ok());
  EXPECT_EQ(options.Finish("optimizer `momentum`").message(),
            "job.yaml:4:9: unknown option `momentun` of optimizer `momentum`; did you mean `momentum`?");
}

TEST(Options, FinishListsTheKeysWhenNoneIsNear) {
  Options options({{"verbose", "1"}});
  EXPECT_EQ(options.Finish("layer `relu`").message(),
            "unknown option `verbose` of layer `relu`, which takes none");
  ASSERT_TRUE(options.Number("lr", 0, 0, 1).ok());
  ASSERT_TRUE(options.Number("momentum", 0, 0, 1).ok());
  EXPECT_EQ(options.Finish("optimizer `momentum`").message(),
            "unknown option `verbose` of optimizer `momentum` (known: lr, momentum)");
}

TEST(NearestName, FindsMisspeltWords) {
  const std::vector<std::string> names = {"batch_size", "epochs", "lr", "replicas"};
  EXPECT_EQ(NearestName("bach_size", names), "batch_size");
  EXPECT_EQ(NearestName("bacth_size", names), "batch_size");
  EXPECT_EQ(NearestName("epoch", names), "epochs");
  EXPECT_EQ(NearestName("lrr", names), "lr");
}

TEST(NearestName, IsEmptyWhenMoreThanAThirdDiffers) {
  EXPECT_EQ(NearestName("size", {"batch_size", "lr"}), "");
  EXPECT_EQ(NearestName("lx", {"lr"}), "");
  EXPECT_EQ(NearestName("anything", {}), "");
}

TEST(Options, OnlyDecimalNumbersAreNumbers) {
  for (const char* text : {"0x10", "inf", "nan", "1e400", "1_000", ""}) {
    Options options({{"lr", text}});
    EXPECT_EQ(options.Number("lr", 0, -1e9, 1e9).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
  Options options({{"lr", "-2.5e-3"}});
  EXPECT_EQ(*options.Number("lr", 0, -1, 1), -2.5e-3);
}

}  // namespace
}  // namespace tessera
