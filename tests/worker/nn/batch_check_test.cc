#include "worker/nn/batch_check.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace tessera::nn {
namespace {

class CheckBatchTest : public testing::Test {
 protected:
  absl::Status Check(size_t values, std::vector<int32_t> labels) const {
    const std::vector<float> images(values);
    return CheckBatch(graph_, {images, labels});
  }

  const Graph graph_ = *Graph::Create(
      {{.kind = "flatten"}, {.name = "fc", .kind = "linear", .options = {{"out_features", "3"}}}}, {1, 2, 2},
      3);
};

TEST_F(CheckBatchTest, AcceptsWhatFits) { EXPECT_TRUE(Check(8, {0, 2}).ok()); }

TEST_F(CheckBatchTest, RefusesAnEmptyBatch) { EXPECT_EQ(Check(0, {}).message(), "the batch is empty"); }

TEST_F(CheckBatchTest, RefusesImagesOfAnotherSize) {
  EXPECT_EQ(Check(7, {0, 2}).message(), "the batch has 7 image values; 2 images of [1,2,2] have 8");
}

TEST_F(CheckBatchTest, RefusesAnotherNumberOfInputs) {
  const std::vector<float> images(4), more(4);
  const std::vector<int32_t> labels = {0};
  const Batch batch({images, more}, labels);
  EXPECT_EQ(CheckBatch(graph_, batch).message(), "the batch has 2 inputs, the network 1");
}

TEST(CheckBatch, NamesTheInputThatDoesNotFit) {
  const Graph graph = *Graph::Create(
      {{.name = "a", .kind = "linear", .inputs = {"row"}, .options = {{"out_features", "3"}}},
       {.name = "b", .kind = "linear", .inputs = {"height"}, .options = {{"out_features", "3"}}},
       {.name = "sum", .kind = "add", .inputs = {"a", "b"}}},
      {{"row", {2}}, {"height", {4}}}, 3);
  const std::vector<float> four(4), seven(7), eight(8);
  const std::vector<int32_t> labels = {0, 2};
  EXPECT_TRUE(CheckBatch(graph, Batch({four, eight}, labels)).ok());
  EXPECT_EQ(CheckBatch(graph, Batch({four, seven}, labels)).message(),
            "the batch has 7 height values; 2 samples of [4] have 8");
}

TEST_F(CheckBatchTest, RefusesLabelsThatAreNoClass) {
  EXPECT_EQ(Check(8, {0, 3}).message(), "label 3 of sample 1 of the batch is not in 0..2");
  EXPECT_EQ(Check(8, {-1, 0}).code(), absl::StatusCode::kInvalidArgument);
}

TEST(CountCorrect, TiesGoToTheLowestClass) {
  const std::vector<float> logits = {1, 1, 0, /**/ 0, 2, 2, /**/ 3, 4, 5};
  const std::vector<int32_t> lowest = {0, 1, 2}, highest = {1, 2, 1};
  EXPECT_EQ(CountCorrect(logits, lowest), 3);
  EXPECT_EQ(CountCorrect(logits, highest), 0);
}

TEST(AllFinite, FindsNanAndInfinity) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(AllFinite(std::vector<float>{0, -1, 3e38f}));
  EXPECT_FALSE(AllFinite(std::vector<float>{0, nan}));
  EXPECT_FALSE(AllFinite(std::vector<float>{-inf, 0}));
  EXPECT_TRUE(AllFinite(std::vector<float>{}));
}

TEST(AllFinite, FindsOneBadValueWhereverItStands) {
  constexpr size_t kLength = 67;  // whole vectors and a rest
  for (size_t at = 0; at < kLength; ++at) {
    std::vector<float> floats(kLength, -3.4e38f);
    std::vector<double> doubles(kLength, 1.7e308);
    EXPECT_TRUE(AllFinite(floats) && AllFinite(doubles));
    floats[at] = -std::numeric_limits<float>::infinity();
    doubles[at] = std::numeric_limits<double>::quiet_NaN();
    EXPECT_FALSE(AllFinite(floats)) << at;
    EXPECT_FALSE(AllFinite(doubles)) << at;
  }
  EXPECT_TRUE(AllFinite(std::vector<float>{std::numeric_limits<float>::denorm_min(), -0.0f}));
}

}  // namespace
}  // namespace tessera::nn
