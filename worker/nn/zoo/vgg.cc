// VGG-11 and VGG-16 without batch normalisation: 3x3 convolutions in five stages, each of which ends in 2x2
// max-pooling, the mean over a 7x7 grid, and three linear layers with dropout between them. Images from 32x32
// on, any number of channels. Parameters for 3 channels and 1000 classes: vgg11 132,863,336; vgg16
// 138,357,544. Names and layouts are torchvision's; so are the initial weights, but uniform where it draws
// from a normal distribution of the same variance.
// Options: dropout = 0.5, its probability, below 1 (0: none).
// Source: Simonyan & Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
// table 1, columns A and D; torchvision's models/vgg.py.
#include <array>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/nn/graph.h"

namespace tessera::nn {
namespace {

constexpr int kStages = 5;
constexpr int kChannels[kStages] = {64, 128, 256, 512, 512};
constexpr int kHidden = 4096;

using Convolutions = std::array<int, kStages>;  // of each stage

// Appends layers by name; each reads the one before it. torchvision numbers the layers of each part.
class Builder {
 public:
  Builder(const Convolutions& convolutions, const std::string& dropout)
      : convolutions_(convolutions), dropout_(dropout) {}

  std::vector<LayerSpec> Build(int64_t classes) {
    for (int stage = 0; stage < kStages; ++stage) AddStage(stage);
    Add("avgpool", "adaptive_avg_pool", {{"output", "7"}});
    Add("flatten", "flatten");
    Linear("classifier.0", kHidden);
    Add("classifier.1", "relu");
    Add("classifier.2", "dropout", {{"p", dropout_}});
    Linear("classifier.3", kHidden);
    Add("classifier.4", "relu");
    Add("classifier.5", "dropout", {{"p", dropout_}});
    Linear("classifier.6", classes);
    return std::move(layers_);
  }

 private:
  void AddStage(int stage) {
    for (int i = 0; i < convolutions_[stage]; ++i) {
      AddFeature("conv2d", {{"out_channels", std::to_string(kChannels[stage])},
                            {"kernel", "3"},
                            {"padding", "1"},
                            {"init", "kaiming"}});
      AddFeature("relu");
    }
    AddFeature("max_pool", {{"kernel", "2"}});
  }

  void AddFeature(const std::string& kind, Options options = {}) {
    Add(absl::StrCat("features.", layers_.size()), kind, std::move(options));
  }

  void Linear(const std::string& name, int64_t out_features) {
    Add(name, "linear", {{"out_features", std::to_string(out_features)}, {"init_std", "0.01"}});
  }

  void Add(const std::string& name, const std::string& kind, Options options = {}) {
    layers_.push_back({.name = name, .kind = kind, .options = std::move(options)});
  }

  const Convolutions convolutions_;
  const std::string dropout_;
  std::vector<LayerSpec> layers_;
};

class Vgg final : public ZooModel {
 public:
  Vgg(const Convolutions& convolutions, double dropout)
      : convolutions_(convolutions), dropout_(absl::StrCat(dropout)) {}

  std::vector<LayerSpec> Layers(const Shape& /*image*/, int64_t classes) const override {
    return Builder(convolutions_, dropout_).Build(classes);
  }

 private:
  const Convolutions convolutions_;
  const std::string dropout_;
};

ZooRegistry::Entry Register(const std::string& name, const Convolutions& convolutions) {
  return {name, [name, convolutions](Options options) -> absl::StatusOr<std::unique_ptr<ZooModel>> {
            TESSERA_ASSIGN_OR_RETURN(const double dropout, options.Number("dropout", 0.5, 0, 1));
            TESSERA_RETURN_IF_ERROR(options.Finish(absl::StrCat("network `", name, "`")));
            return std::make_unique<Vgg>(convolutions, dropout);
          }};
}

const ZooRegistry::Entry kVgg11 = Register("vgg11", {1, 1, 2, 2, 2});
const ZooRegistry::Entry kVgg16 = Register("vgg16", {2, 2, 3, 3, 3});

}  // namespace
}  // namespace tessera::nn
