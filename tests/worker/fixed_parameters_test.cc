#include "worker/fixed_parameters.h"

#include <gtest/gtest.h>

#include "worker/evaluator.h"

namespace tessera {
namespace {

nn::Graph MakeGraph() {
  std::vector<nn::LayerSpec> layers(2);
  layers[0].name = "flatten";
  layers[0].kind = "flatten";
  layers[1].name = "fc";
  layers[1].kind = "linear";
  layers[1].options = Options({{"out_features", "2"}});
  return *nn::Graph::Create(std::move(layers), {1, 1, 2}, 2);
}

NamedTensors MakeTensors() { return {{"fc.weight", {{2, 2}, {1, 2, 3, 4}}}, {"fc.bias", {{2}, {5, 6}}}}; }

TEST(FixedParameters, FillsTheBlocksInTheGraphsOrder) {
  absl::StatusOr<FixedParameters> parameters = FixedParameters::Create(MakeGraph(), MakeTensors());
  ASSERT_TRUE(parameters.ok()) << parameters.status();
  const absl::Span<const float> block = *parameters->Weights(0);
  EXPECT_EQ(std::vector<float>(block.begin(), block.end()), (std::vector<float>{1, 2, 3, 4, 5, 6}));
}

TEST(FixedParameters, AMissingAnUnexpectedOrAMisshapenTensorIsNamed) {
  const auto error = [](const NamedTensors& tensors) {
    return std::string(FixedParameters::Create(MakeGraph(), tensors).status().message());
  };
  NamedTensors missing = MakeTensors();
  missing.erase("fc.bias");
  EXPECT_EQ(error(missing), "no tensor `fc.bias`");
  NamedTensors unexpected = MakeTensors();
  unexpected["conv9.weight"] = {{1}, {0}};
  EXPECT_EQ(error(unexpected), "unexpected tensor `conv9.weight`: the model has none of this name");
  NamedTensors misshapen = MakeTensors();
  misshapen["fc.weight"].shape = {4, 1};
  EXPECT_EQ(error(misshapen), "tensor `fc.weight` has the shape [4,1], the model needs [2,2]");
}

TEST(Evaluator, ChunksCoverEverySampleOnce) {
  EXPECT_EQ(NumEvaluationChunks(1), 1);
  EXPECT_EQ(NumEvaluationChunks(kEvaluationChunk), 1);
  EXPECT_EQ(NumEvaluationChunks(kEvaluationChunk + 1), 2);
  EXPECT_EQ(NumEvaluationChunks(10000), 40);
  const EvaluationTotals totals =
      SumChunks(std::vector<EvaluationChunk>{{0, 250, 200, 1.5}, {1, 50, 10, 2.5}});
  EXPECT_EQ(totals.samples, 300);
  EXPECT_DOUBLE_EQ(totals.accuracy(), 0.7);
  EXPECT_DOUBLE_EQ(totals.loss(), 4.0 / 300);
}

}  // namespace
}  // namespace tessera
