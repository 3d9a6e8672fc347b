// Residual networks for photographs: a 7x7 convolution and max-pooling, four stages of residual blocks, the
// mean over the image and a linear layer. resnet18 and resnet34 are made of basic blocks (two 3x3
// convolutions), resnet50 of bottlenecks (1x1, 3x3, 1x1) in the v1.5 form: the 3x3 convolution has the
// stride. Any image size and number of channels. Parameters for 3 channels and 1000 classes: resnet18
// 11,689,512; resnet34 21,797,672; resnet50 25,557,032. Names and layouts are torchvision's; so are the
// initial weights, but uniform where it draws from a normal distribution of the same variance. No options.
// Source: He et al. 2016, "Deep Residual Learning for Image Recognition", table 1; torchvision's
// models/resnet.py.
#include <array>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/nn/graph.h"

namespace tessera::nn {
namespace {

constexpr int kStages = 4;
constexpr int kFirstChannels = 64;  // doubled at each stage

struct Form {
  std::array<int, kStages> blocks;
  bool bottleneck;
  // Channels that a block puts out for each of its stage's own.
  int expansion() const { return bottleneck ? 4 : 1; }
};

// Appends layers by name; each reads the one before it unless it says otherwise.
class Builder {
 public:
  explicit Builder(const Form& form) : form_(form) {}

  std::vector<LayerSpec> Build(int64_t classes) {
    Conv("conv1", kFirstChannels, 7, 2, "image");
    Add("bn1", "batch_norm");
    Add("relu", "relu");
    Add("maxpool", "max_pool", {{"kernel", "3"}, {"stride", "2"}, {"padding", "1"}});
    for (int stage = 0; stage < kStages; ++stage) AddStage(stage);
    Add("avgpool", "global_avg_pool");
    Add("fc", "linear", {{"out_features", std::to_string(classes)}});
    return std::move(layers_);
  }

 private:
  void AddStage(int stage) {
    const int channels = kFirstChannels << stage;
    for (int block = 0; block < form_.blocks[stage]; ++block) {
      const int stride = stage > 0 && block == 0 ? 2 : 1;
      AddBlock(absl::StrCat("layer", stage + 1, ".", block, "."), channels, stride);
      channels_ = channels * form_.expansion();
    }
  }

  void AddBlock(const std::string& prefix, int channels, int stride) {
    const std::string input = layers_.back().name;
    const int out_channels = channels * form_.expansion();
    if (form_.bottleneck) {
      AddConvolution(prefix, 1, channels, 1, 1);
      Add(prefix + "relu1", "relu");
      AddConvolution(prefix, 2, channels, 3, stride);
      Add(prefix + "relu2", "relu");
      AddConvolution(prefix, 3, out_channels, 1, 1);
    } else {
      AddConvolution(prefix, 1, channels, 3, stride);
      Add(prefix + "relu1", "relu");
      AddConvolution(prefix, 2, channels, 3, 1);
    }
    const std::string last = layers_.back().name;
    std::string identity = input;
    if (stride != 1 || channels_ != out_channels) {
      Conv(prefix + "downsample.0", out_channels, 1, stride, input);
      identity = prefix + "downsample.1";
      Add(identity, "batch_norm");
    }
    layers_.push_back({.name = prefix + "add", .kind = "add", .inputs = {last, identity}});
    Add(prefix + (form_.bottleneck ? "relu3" : "relu2"), "relu");
  }

  // conv<number> and bn<number>.
  void AddConvolution(const std::string& prefix, int number, int out_channels, int kernel, int stride) {
    Conv(absl::StrCat(prefix, "conv", number), out_channels, kernel, stride, layers_.back().name);
    Add(absl::StrCat(prefix, "bn", number), "batch_norm");
  }

  // Padded to keep the size of the image at stride 1.
  void Conv(const std::string& name, int out_channels, int kernel, int stride, const std::string& input) {
    layers_.push_back({.name = name,
                       .kind = "conv2d",
                       .inputs = {input},
                       .options = {{"out_channels", std::to_string(out_channels)},
                                   {"kernel", std::to_string(kernel)},
                                   {"stride", std::to_string(stride)},
                                   {"padding", std::to_string(kernel / 2)},
                                   {"bias", "false"},
                                   {"init", "kaiming"}}});
  }

  void Add(const std::string& name, const std::string& kind, Options options = {}) {
    layers_.push_back({.name = name, .kind = kind, .options = std::move(options)});
  }

  const Form form_;
  int channels_ = kFirstChannels;  // of the last block
  std::vector<LayerSpec> layers_;
};

class Resnet final : public ZooModel {
 public:
  explicit Resnet(const Form& form) : form_(form) {}

  std::vector<LayerSpec> Layers(const Shape& /*image*/, int64_t classes) const override {
    return Builder(form_).Build(classes);
  }

 private:
  const Form form_;
};

ZooRegistry::Entry Register(const std::string& name, const Form& form) {
  return {name, [name, form](Options options) -> absl::StatusOr<std::unique_ptr<ZooModel>> {
            TESSERA_RETURN_IF_ERROR(options.Finish(absl::StrCat("network `", name, "`")));
            return std::make_unique<Resnet>(form);
          }};
}

const ZooRegistry::Entry kResnet18 = Register("resnet18", {{2, 2, 2, 2}, false});
const ZooRegistry::Entry kResnet34 = Register("resnet34", {{3, 4, 6, 3}, false});
const ZooRegistry::Entry kResnet50 = Register("resnet50", {{3, 4, 6, 3}, true});

}  // namespace
}  // namespace tessera::nn
