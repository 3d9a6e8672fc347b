// Whole small networks in double: every weight's gradient against finite differences of the loss.
#include "worker/reference/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/worker/nn/memory_exchange.h"

namespace tessera::reference {
namespace {

using DoubleExchange = nn::MemoryExchangeOf<double, Exchange<double>>;

struct NamedNetwork {
  std::string name;
  std::vector<nn::LayerSpec> layers;
  std::vector<nn::InputSpec> inputs;
  int64_t batch = 3;
};

std::vector<nn::InputSpec> Image(Shape shape) { return {{nn::kImageName, std::move(shape)}}; }

std::vector<NamedNetwork> Networks() {
  const Options conv = {{"out_channels", "3"}, {"kernel", "3"}, {"padding", "1"}};
  const Options halve = {{"out_channels", "5"}, {"kernel", "3"}, {"padding", "1"}, {"stride", "2"}};
  const Options fc = {{"out_features", "4"}};
  return {
      {"ConvPoolLinear",
       {{.kind = "conv2d", .options = {{"out_channels", "3"}, {"kernel", "3"}}},
        {.kind = "max_pool", .options = {{"kernel", "2"}}},
        {.kind = "flatten"},
        {.kind = "linear", .options = {{"out_features", "7"}}},
        {.kind = "relu"},
        {.kind = "linear", .options = fc}},
       Image({2, 7, 8})},
      {"ResidualBlock",
       {{.kind = "conv2d", .options = conv},
        {.name = "x", .kind = "relu"},
        {.kind = "conv2d", .options = conv},
        {.name = "bn", .kind = "batch_norm"},
        {.kind = "add", .inputs = {"bn", "x"}},
        {.kind = "relu"},
        {.kind = "global_avg_pool"},
        {.kind = "linear", .options = fc}},
       Image({2, 5, 4})},
      {"ResidualBlockWithShortcutA",
       {{.name = "x", .kind = "conv2d", .options = conv},
        {.kind = "conv2d", .options = halve},
        {.name = "bn", .kind = "batch_norm"},
        {.name = "short", .kind = "shortcut_a", .inputs = {"x"}, .options = {{"out_channels", "5"}}},
        {.kind = "add", .inputs = {"bn", "short"}},
        {.kind = "global_avg_pool"},
        {.kind = "linear", .options = fc}},
       Image({1, 5, 7})},
      {"OneOutputUsedFourTimes",
       {{.name = "x", .kind = "conv2d", .options = conv},
        {.name = "y", .kind = "conv2d", .options = conv},
        {.name = "sum", .kind = "add", .inputs = {"x", "y", "x"}},
        {.kind = "add", .inputs = {"sum", "x"}},
        {.kind = "flatten"},
        {.kind = "linear", .options = fc}},
       Image({1, 3, 3})},
      {"TwoBranchesOfTheImage",
       {{.name = "a", .kind = "conv2d", .options = conv},
        {.name = "b", .kind = "conv2d", .inputs = {"image"}, .options = conv},
        {.kind = "add", .inputs = {"a", "b"}},
        {.kind = "flatten"},
        {.kind = "linear", .options = fc}},
       Image({1, 4, 3}),
       1},
      {"DropoutsConcatenatedWithWhatTheyRead",
       {{.name = "x", .kind = "conv2d", .options = conv},
        {.name = "left", .kind = "dropout", .inputs = {"x"}},
        {.name = "right", .kind = "dropout", .inputs = {"x"}, .options = {{"p", "0.25"}}},
        {.name = "all", .kind = "concat", .inputs = {"left", "x", "right", "x"}},
        {.kind = "conv2d", .options = {{"out_channels", "4"}, {"kernel", "2"}, {"groups", "4"}}},
        {.kind = "adaptive_avg_pool", .options = {{"output", "2"}}},
        {.kind = "flatten"},
        {.kind = "linear", .options = fc},
        {.kind = "softmax_cross_entropy", .options = {{"label_smoothing", "0.2"}}}},
       Image({1, 4, 5})},
      {"ResponseNormOfAnAverage",
       {{.kind = "conv2d", .options = halve},
        {.kind = "local_response_norm", .options = {{"size", "3"}, {"alpha", "2"}}},
        {.kind = "avg_pool", .options = {{"kernel", "2"}, {"padding", "1"}, {"count_include_pad", "false"}}},
        {.kind = "flatten"},
        {.kind = "linear", .options = fc}},
       Image({2, 6, 7})},
      {"TwoInputsOfWhichOneIsARow",
       {{.name = "spectrum1", .kind = "linear", .inputs = {"spectrum"}, .options = {{"out_features", "5"}}},
        {.name = "spectrum2", .kind = "relu"},
        {.name = "height1", .kind = "conv2d", .inputs = {"height"}, .options = halve},
        {.name = "height2", .kind = "global_avg_pool"},
        {.name = "sum", .kind = "add", .inputs = {"spectrum2", "height2"}},
        {.kind = "linear", .options = fc}},
       {{"spectrum", {6}}, {"height", {2, 3, 4}}}},
      {"TwoInputsAddedBeforeAnyWeight",
       {{.name = "sum", .kind = "add", .inputs = {"b", "a", "b"}},
        {.kind = "flatten"},
        {.kind = "linear", .options = fc}},
       {{"a", {1, 2, 3}}, {"b", {1, 2, 3}}}},
  };
}

// Uniform in [-1, 1).
std::vector<double> RandomValues(size_t length, uint64_t seed) {
  const RandomStream stream(seed, RandomPurpose::kInitialWeights);
  std::vector<double> values(length);
  for (size_t i = 0; i < length; ++i) values[i] = 2.0 * stream.Uniform(i) - 1.0;
  return values;
}

constexpr nn::StepKey kKey = {.seed = 3, .replica = 1, .clock = 8};

class NetworkGradient : public testing::TestWithParam<NamedNetwork> {
 protected:
  double Loss() {
    const auto result = network_->Step(InputViews(), labels_, kKey, &exchange_);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? result->loss : NAN;
  }

  std::vector<absl::Span<const double>> InputViews() const { return {inputs_.begin(), inputs_.end()}; }

  static std::vector<std::vector<double>> RandomInputs() {
    std::vector<std::vector<double>> inputs;
    for (const nn::InputSpec& input : GetParam().inputs) {
      const auto length = static_cast<size_t>(GetParam().batch * NumElements(input.shape));
      inputs.push_back(RandomValues(length, 1 + inputs.size()));
    }
    return inputs;
  }

  const std::shared_ptr<const nn::Graph> graph_ =
      std::make_shared<const nn::Graph>(*nn::Graph::Create(GetParam().layers, GetParam().inputs, 4));
  const std::unique_ptr<Network<double>> network_ = *Network<double>::Create(graph_);
  const std::vector<std::vector<double>> inputs_ = RandomInputs();
  const std::vector<int32_t> labels_ =
      GetParam().batch == 3 ? std::vector<int32_t>{2, 0, 3} : std::vector<int32_t>{1};
  DoubleExchange exchange_{*graph_};
};

TEST_P(NetworkGradient, EqualsFiniteDifferencesOfTheLoss) {
  for (size_t block = 0; block < exchange_.weights.size(); ++block) {
    exchange_.weights[block] = RandomValues(exchange_.weights[block].size(), 100 + block);
  }
  Loss();
  const std::vector<std::vector<double>> gradients = exchange_.gradients;
  constexpr double kStep = 1e-6;
  for (size_t block = 0; block < gradients.size(); ++block) {
    if (graph_->blocks()[block].kind != ParameterKind::kWeight) continue;
    for (size_t i = 0; i < gradients[block].size(); ++i) {
      double& weight = exchange_.weights[block][i];
      const double before = weight;
      weight = before + kStep;
      const double above = Loss();
      weight = before - kStep;
      const double below = Loss();
      weight = before;
      const double difference = (above - below) / (2 * kStep);
      ASSERT_NEAR(gradients[block][i], difference, 1e-7 * (1 + std::abs(difference)))
          << "layer " << graph_->blocks()[block].layer << ", element " << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Small, NetworkGradient, testing::ValuesIn(Networks()),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace tessera::reference
