// Residual networks for small images: a 3x3 convolution, three stages of residual blocks with 16, 32 and 64
// channels, and a linear layer; shortcuts without parameters. A network of depth 6n+2 has n blocks in a
// stage. Any image size and number of channels. Parameters for 3 channels and 10 classes: resnet20 269,722;
// resnet32 464,154; resnet56 853,018. Names are those of Y. Idelbayev's pytorch_resnet_cifar10 (akamaster).
// No options.
// Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2, option A.
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/nn/graph.h"

namespace tessera::nn {
namespace {

constexpr int kStageChannels[] = {16, 32, 64};

LayerSpec Conv3x3(const std::string& name, int out_channels, int stride, const std::string& input) {
  return {.name = name,
          .kind = "conv2d",
          .inputs = {input},
          .options = {{"out_channels", std::to_string(out_channels)},
                      {"kernel", "3"},
                      {"stride", std::to_string(stride)},
                      {"padding", "1"},
                      {"bias", "false"},
                      {"init", "kaiming"}}};
}

LayerSpec ShortcutA(const std::string& name, int out_channels, int stride, const std::string& input) {
  return {.name = name,
          .kind = "shortcut_a",
          .inputs = {input},
          .options = {{"out_channels", std::to_string(out_channels)}, {"stride", std::to_string(stride)}}};
}

// Appends the block `name`, whose input is the last layer so far.
void AddBlock(const std::string& name, int out_channels, int stride, std::vector<LayerSpec>& layers) {
  const std::string input = layers.back().name;
  const auto local = [&name](const char* part) { return absl::StrCat(name, ".", part); };
  layers.push_back(Conv3x3(local("conv1"), out_channels, stride, input));
  layers.push_back({.name = local("bn1"), .kind = "batch_norm"});
  layers.push_back({.name = local("relu1"), .kind = "relu"});
  layers.push_back(Conv3x3(local("conv2"), out_channels, 1, local("relu1")));
  layers.push_back({.name = local("bn2"), .kind = "batch_norm"});
  std::string identity = input;
  if (stride != 1) {
    identity = local("shortcut");
    layers.push_back(ShortcutA(identity, out_channels, stride, input));
  }
  layers.push_back({.name = local("add"), .kind = "add", .inputs = {local("bn2"), identity}});
  layers.push_back({.name = local("relu2"), .kind = "relu"});
}

class CifarResnet final : public ZooModel {
 public:
  explicit CifarResnet(int blocks_per_stage) : blocks_per_stage_(blocks_per_stage) {}

  std::vector<LayerSpec> Layers(const Shape& /*image*/, int64_t classes) const override {
    std::vector<LayerSpec> layers = {Conv3x3("conv1", kStageChannels[0], 1, "image"),
                                     {.name = "bn1", .kind = "batch_norm"},
                                     {.name = "relu1", .kind = "relu"}};
    for (int stage = 0; stage < 3; ++stage) {
      for (int block = 0; block < blocks_per_stage_; ++block) {
        const int stride = stage > 0 && block == 0 ? 2 : 1;
        AddBlock(absl::StrCat("layer", stage + 1, ".", block), kStageChannels[stage], stride, layers);
      }
    }
    layers.push_back({.name = "pool", .kind = "global_avg_pool"});
    layers.push_back(
        {.name = "linear", .kind = "linear", .options = {{"out_features", std::to_string(classes)}}});
    return layers;
  }

 private:
  const int blocks_per_stage_;
};

ZooRegistry::Entry Register(const std::string& name, int depth) {
  return {name, [name, depth](Options options) -> absl::StatusOr<std::unique_ptr<ZooModel>> {
            TESSERA_RETURN_IF_ERROR(options.Finish(absl::StrCat("network `", name, "`")));
            return std::make_unique<CifarResnet>((depth - 2) / 6);
          }};
}

const ZooRegistry::Entry kResnet20 = Register("resnet20", 20);
const ZooRegistry::Entry kResnet32 = Register("resnet32", 32);
const ZooRegistry::Entry kResnet56 = Register("resnet56", 56);

}  // namespace
}  // namespace tessera::nn
