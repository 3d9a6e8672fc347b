#include "common/starting_weights.h"

#include <utility>

#include "common/initial_weights.h"
#include "common/safetensors.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/common/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr uint64_t kSeed = 5;

ParameterSpec Weight(const std::string& name, Shape shape) {
  return {name, std::move(shape), ParameterKind::kWeight, {Initializer::Kind::kUniform, 0.5F}};
}

// Three layers; `layer1.bn` has statistics, `fc` makes three classes.
std::vector<ParameterBlock> Blocks() {
  const Initializer one{Initializer::Kind::kConstant, 1};
  return {{"layer1.conv", ParameterKind::kWeight, {Weight("layer1.conv.weight", {4, 2})}},
          {"layer1.bn", ParameterKind::kWeight, {Weight("layer1.bn.weight", {4})}},
          {"layer1.bn",
           ParameterKind::kStatistic,
           {{"layer1.bn.running_var", {4}, ParameterKind::kStatistic, one}}},
          {"fc", ParameterKind::kWeight, {Weight("fc.weight", {3, 4}), Weight("fc.bias", {3})}}};
}

std::vector<float> Counted(size_t count, float first) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = first + static_cast<float>(i);
  return values;
}

// What fits Blocks().
NamedTensors Fitting() {
  return {{"layer1.conv.weight", {{4, 2}, Counted(8, 10)}},
          {"layer1.bn.weight", {{4}, Counted(4, 20)}},
          {"layer1.bn.running_var", {{4}, Counted(4, 30)}},
          {"fc.weight", {{3, 4}, Counted(12, 40)}},
          {"fc.bias", {{3}, Counted(3, 60)}}};
}

class StartingWeightsTest : public testing::Test {
 protected:
  // Shards of 6 elements at most.
  static ShardLayout Layout() { return *ShardLayout::Create(Blocks(), 24); }

  std::string path() const { return folder_.File("model.safetensors"); }

  absl::StatusOr<StartingWeights> Load(const NamedTensors& tensors, std::vector<std::string> replace = {}) {
    EXPECT_TRUE(WriteSafetensors(path(), tensors, {}).ok());
    return StartingWeights::Create({path(), std::move(replace), kSeed}, Layout());
  }

  std::string ErrorOf(const NamedTensors& tensors, std::vector<std::string> replace = {}) {
    const absl::Status status = Load(tensors, std::move(replace)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    return std::string(status.message());
  }

  // The values of `block`, shard by shard.
  static std::vector<float> Block(const StartingWeights& weights, int block) {
    const ShardLayout layout = Layout();
    std::vector<float> values;
    for (const ShardId shard : layout.ShardsOfBlock(block)) {
      std::vector<float> part(layout.shards()[shard].length);
      EXPECT_TRUE(weights.Fill(shard, absl::MakeSpan(part)).ok());
      values.insert(values.end(), part.begin(), part.end());
    }
    return values;
  }

  static std::vector<float> Random(const ParameterSpec& parameter) {
    std::vector<float> values(NumElements(parameter.shape));
    FillInitial(kSeed, parameter, 0, absl::MakeSpan(values));
    return values;
  }

  TemporaryFolder folder_;
};

TEST_F(StartingWeightsTest, EveryShardHasTheFilesValues) {
  const auto weights = Load(Fitting());
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(Block(*weights, 0), Counted(8, 10));
  EXPECT_EQ(Block(*weights, 1), Counted(4, 20));
  EXPECT_EQ(Block(*weights, 2), Counted(4, 30)) << "batch-norm statistics too";
  std::vector<float> fc = Counted(12, 40);
  for (const float bias : Counted(3, 60)) fc.push_back(bias);
  EXPECT_EQ(Block(*weights, 3), fc);
  EXPECT_EQ(weights->summary(), "model.safetensors: 5 of 5 tensors");
  EXPECT_EQ(weights->warning(), "");
}

TEST_F(StartingWeightsTest, AReplacedLayerStartsAfreshWhateverTheFileHas) {
  NamedTensors other = Fitting();
  other["fc.weight"] = {{9, 4}, Counted(36, 0)};
  other.erase("fc.bias");
  for (const NamedTensors& tensors : {other, Fitting()}) {
    const auto weights = Load(tensors, {"fc"});
    ASSERT_TRUE(weights.ok()) << weights.status();
    std::vector<float> fresh = Random(Blocks()[3].parameters[0]);
    for (const float bias : Random(Blocks()[3].parameters[1])) fresh.push_back(bias);
    EXPECT_EQ(Block(*weights, 3), fresh);
    EXPECT_EQ(Block(*weights, 0), Counted(8, 10));
  }
}

TEST_F(StartingWeightsTest, SummaryTellsWhatStartsAfreshAndWhatTheFileHas) {
  NamedTensors tensors = Fitting();
  tensors["fc.weight"] = {{9, 4}, Counted(36, 0)};
  tensors.erase("fc.bias");
  EXPECT_EQ(Load(tensors, {"fc"})->summary(),
            "model.safetensors: 3 of 5 tensors; starts afresh: fc.weight [3,4] (file: [9,4]), fc.bias [3] "
            "(not in the file)");
}

TEST_F(StartingWeightsTest, ReplaceTakesAllBelowAName) {
  const auto weights = Load(Fitting(), {"layer1"});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(Block(*weights, 0), Random(Blocks()[0].parameters[0]));
  EXPECT_THAT(Block(*weights, 2), ElementsAre(1, 1, 1, 1));
  EXPECT_EQ(
      weights->summary(),
      "model.safetensors: 2 of 5 tensors; starts afresh: layer1.conv.weight [4,2], layer1.bn.weight [4], "
      "layer1.bn.running_var [4]");
}

TEST_F(StartingWeightsTest, WhatDoesNotFitIsListedWithTheLayersToReplace) {
  NamedTensors tensors = Fitting();
  tensors["fc.weight"] = {{9, 4}, Counted(36, 0)};
  tensors["fc.bias"] = {{9}, Counted(9, 0)};
  tensors.erase("layer1.bn.running_var");
  EXPECT_EQ(ErrorOf(tensors),
            "model.weights: " + path() +
                " does not fit the network: layer1.bn.running_var is missing, fc.weight is [9,4], "
                "not [3,4], fc.bias is [9], not [3]; what is to start afresh is named in "
                "model.replace: [layer1.bn, fc]");
  EXPECT_THAT(ErrorOf(tensors, {"fc"}), AllOf(HasSubstr("running_var is missing"), Not(HasSubstr("fc."))));
}

TEST_F(StartingWeightsTest, AnUnknownReplaceNamesTheNearestLayer) {
  EXPECT_EQ(ErrorOf(Fitting(), {"layer1.cnv"}),
            "model.replace: no layer with parameters is named `layer1.cnv`; did you mean `layer1.conv`?");
  EXPECT_THAT(ErrorOf(Fitting(), {"fc.weight"}), HasSubstr("no layer with parameters is named `fc.weight`"));
  EXPECT_THAT(ErrorOf(Fitting(), {"layer"}), HasSubstr("did you mean `layer1`?"));
}

TEST_F(StartingWeightsTest, WhatTheNetworkHasNotIsAWarningButForPyTorchsCounters) {
  NamedTensors tensors = Fitting();
  tensors["layer1.bn.num_batches_tracked"] = {{}, {7}};
  EXPECT_EQ(Load(tensors)->warning(), "");
  tensors["head.weight"] = {{1}, {7}};
  EXPECT_EQ(Load(tensors)->warning(), "model.safetensors: 1 tensor fits no parameter: head.weight");
  for (char c = 'a'; c < 'p'; ++c) tensors[std::string("x.") + c] = {{1}, {7}};
  EXPECT_EQ(
      Load(tensors)->warning(),
      "model.safetensors: 16 tensors fit no parameter: head.weight, x.a, x.b, x.c, x.d, x.e, x.f, x.g, x.h, "
      "x.i and 6 more");
}

TEST_F(StartingWeightsTest, AMissingFileIsNotFound) {
  const absl::Status status = StartingWeights::Create({folder_.File("none"), {}, kSeed}, Layout()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), StartsWith("model.weights: " + folder_.File("none")));
}

TEST(ShardDigest, SeesEveryBitOfAShard) {
  const std::vector<float> values = {1, 2, 3};
  EXPECT_EQ(ShardDigest(values), ShardDigest(std::vector<float>{1, 2, 3}));
  EXPECT_NE(ShardDigest(values), ShardDigest(std::vector<float>{1, 2, 3 + 0x1p-22F}));
  EXPECT_NE(ShardDigest(std::vector<float>{0.0F}), ShardDigest(std::vector<float>{-0.0F}));
}

}  // namespace
}  // namespace tessera
