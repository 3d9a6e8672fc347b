// Every layer that the reference has: the cpu's op against it in a sweep of shapes, in training and
// evaluation. The layer stands between two others, so that its gradient by the data shows in the weights of
// the layer below; and right on the images, where there is none.
#include "worker/reference/op.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/worker/cpu/agreement.h"
#include "tests/worker/nn/layer_cases.h"

namespace tessera::cpu {
namespace {

using nn::LayerCase;
using nn::LayerSpec;

const std::vector<int64_t> kChannels = {1, 3, 16, 17, 32};

void SetInteger(Options& options, const std::string& name, int64_t value) {
  options.Set(name, {std::to_string(value), ""});
}

int64_t GroupsOf(Options conv) { return conv.Integer("groups", 1, 1, 100).value(); }

// Outputs in blocks of 16 channels, and not; as many for each group.
std::vector<LayerCase> WithOutputChannels(const LayerCase& base) {
  std::vector<LayerCase> cases = {base};
  for (int64_t channels : {16, 17, 32}) {
    SetInteger(cases.emplace_back(base).options, "out_channels", channels * GroupsOf(base.options));
  }
  return cases;
}

// `channels` groups of one input channel and one or two output channels.
std::vector<LayerCase> Depthwise(const LayerCase& base, int64_t channels) {
  std::vector<LayerCase> cases;
  for (int64_t multiplier : {1, 2}) {
    LayerCase& depthwise = cases.emplace_back(base);
    depthwise.inputs[0][0] = channels;
    SetInteger(depthwise.options, "groups", channels);
    SetInteger(depthwise.options, "out_channels", channels * multiplier);
  }
  return cases;
}

// A convolution with `channels` input channels for each group.
std::vector<LayerCase> WidenedConv(const LayerCase& base, int64_t channels) {
  const int64_t groups = GroupsOf(base.options);
  if (groups > 1 && groups == base.inputs[0][0]) return Depthwise(base, channels);
  LayerCase wide = base;
  wide.inputs[0][0] = channels * groups;
  return WithOutputChannels(wide);
}

// `base` with other numbers of channels.
std::vector<LayerCase> Widened(const std::string& kind, const LayerCase& base) {
  std::vector<LayerCase> cases;
  for (int64_t channels : kChannels) {
    if (kind == "conv2d") {
      for (const LayerCase& conv : WidenedConv(base, channels)) cases.push_back(conv);
      continue;
    }
    LayerCase wide = base;
    for (Shape& input : wide.inputs) input[0] = channels;
    if (kind == "shortcut_a") {
      const int64_t more = wide.options.RequiredInteger("out_channels", 1, 100).value() - base.inputs[0][0];
      SetInteger(wide.options, "out_channels", channels + (channels % 16 == 0 ? channels : more));
    }
    cases.push_back(wide);
  }
  return cases;
}

std::vector<LayerCase> Cases(const std::string& kind) {
  std::vector<LayerCase> cases;
  const std::vector<LayerCase> base_cases = nn::LayerCases()[kind];
  for (const LayerCase& base : base_cases) {
    cases.push_back(base);
    if (base.inputs[0].size() != 3) continue;
    for (const LayerCase& wide : Widened(kind, base)) cases.push_back(wide);
  }
  return cases;
}

// What makes the tested layer's input `i` of the images: "exactI", or "image" itself.
std::string AddLayerBelow(const LayerCase& layer_case, size_t i, std::vector<LayerSpec>& layers) {
  const Shape& shape = layer_case.inputs[i];
  const std::string name = absl::StrCat("exact", i), outputs = std::to_string(shape[0]);
  if (shape.size() == 3) {
    layers.push_back({.name = name,
                      .kind = "conv2d",
                      .inputs = {"image"},
                      .options = {{"out_channels", outputs}, {"kernel", "1"}}});
    return name;
  }
  layers.push_back({.name = absl::StrCat("flat", i), .kind = "flatten", .inputs = {"image"}});
  layers.push_back({.name = name, .kind = "linear", .options = {{"out_features", outputs}}});
  return name;
}

// image -> layer below -> the layer -> linear -> loss; without the layer below when `on_images`.
void ExpectAgreementInNetwork(const std::string& kind, const LayerCase& layer_case, bool on_images) {
  const bool is_loss = kind == "softmax_cross_entropy";
  const Shape& input = layer_case.inputs[0];
  const Shape image = on_images ? input : input.size() == 3 ? Shape{2, input[1], input[2]} : Shape{2, 2, 3};
  std::vector<LayerSpec> layers;
  LayerSpec tested = {.name = "tested", .kind = kind, .options = layer_case.options};
  for (size_t i = 0; i < layer_case.inputs.size(); ++i) {
    tested.inputs.push_back(on_images ? "image" : AddLayerBelow(layer_case, i, layers));
  }
  layers.push_back(tested);
  if (!is_loss) {
    layers.push_back({.name = "rows", .kind = "flatten"});
    layers.push_back({.name = "above", .kind = "linear", .options = {{"out_features", "3"}}});
  }
  ExpectAgreement(MakeGraph(layers, image, is_loss ? input[0] : 3), layer_case.batch);
}

class CpuOp : public testing::TestWithParam<std::string> {};

TEST_P(CpuOp, AgreesWithTheReference) {
  const std::vector<LayerCase> cases = Cases(GetParam());
  ASSERT_FALSE(cases.empty()) << "tests/worker/nn/layer_cases.h has no cases of this layer";
  for (size_t c = 0; c < cases.size(); ++c) {
    std::string inputs;
    for (const Shape& input : cases[c].inputs) absl::StrAppend(&inputs, " ", ToString(input));
    SCOPED_TRACE(absl::StrCat("case ", c, ":", inputs, ", batch ", cases[c].batch));
    ExpectAgreementInNetwork(GetParam(), cases[c], /*on_images=*/false);
    if (cases[c].inputs[0].size() == 3) ExpectAgreementInNetwork(GetParam(), cases[c], /*on_images=*/true);
    if (HasFailure()) return;
  }
}

INSTANTIATE_TEST_SUITE_P(EveryLayer, CpuOp, testing::ValuesIn(reference::OpRegistry<float>::Names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace tessera::cpu
