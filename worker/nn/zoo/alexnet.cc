// AlexNet in its one-column form: five convolutions with max-pooling, the mean over a 6x6 grid, and three
// linear layers with dropout before the first two. Images from 63x63 on, any number of channels. 61,100,840
// parameters for 3 channels and 1000 classes. Names, layouts and initial weights are torchvision's.
// Options: dropout = 0.5, its probability, below 1 (0: none).
// Source: Krizhevsky 2014, "One weird trick for parallelizing convolutional neural networks", which drops the
// response normalisation of Krizhevsky et al. 2012; torchvision's models/alexnet.py.
#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/nn/graph.h"

namespace tessera::nn {
namespace {

constexpr char kHidden[] = "4096";

LayerSpec Conv(const char* name, const char* out_channels, const char* kernel, const char* stride,
               const char* padding) {
  return {.name = name,
          .kind = "conv2d",
          .options = {
              {"out_channels", out_channels}, {"kernel", kernel}, {"stride", stride}, {"padding", padding}}};
}

LayerSpec Pool(const char* name) {
  return {.name = name, .kind = "max_pool", .options = {{"kernel", "3"}, {"stride", "2"}}};
}

LayerSpec Linear(const char* name, const std::string& out_features) {
  return {.name = name, .kind = "linear", .options = {{"out_features", out_features}}};
}

class Alexnet final : public ZooModel {
 public:
  explicit Alexnet(double dropout) : dropout_(absl::StrCat(dropout)) {}

  static absl::StatusOr<std::unique_ptr<ZooModel>> Create(Options options) {
    TESSERA_ASSIGN_OR_RETURN(const double dropout, options.Number("dropout", 0.5, 0, 1));
    TESSERA_RETURN_IF_ERROR(options.Finish("network `alexnet`"));
    return std::make_unique<Alexnet>(dropout);
  }

  std::vector<LayerSpec> Layers(const Shape& /*image*/, int64_t classes) const override {
    return {
        Conv("features.0", "64", "11", "4", "2"),
        {.name = "features.1", .kind = "relu"},
        Pool("features.2"),
        Conv("features.3", "192", "5", "1", "2"),
        {.name = "features.4", .kind = "relu"},
        Pool("features.5"),
        Conv("features.6", "384", "3", "1", "1"),
        {.name = "features.7", .kind = "relu"},
        Conv("features.8", "256", "3", "1", "1"),
        {.name = "features.9", .kind = "relu"},
        Conv("features.10", "256", "3", "1", "1"),
        {.name = "features.11", .kind = "relu"},
        Pool("features.12"),
        {.name = "avgpool", .kind = "adaptive_avg_pool", .options = {{"output", "6"}}},
        {.name = "flatten", .kind = "flatten"},
        {.name = "classifier.0", .kind = "dropout", .options = {{"p", dropout_}}},
        Linear("classifier.1", kHidden),
        {.name = "classifier.2", .kind = "relu"},
        {.name = "classifier.3", .kind = "dropout", .options = {{"p", dropout_}}},
        Linear("classifier.4", kHidden),
        {.name = "classifier.5", .kind = "relu"},
        Linear("classifier.6", std::to_string(classes)),
    };
  }

 private:
  const std::string dropout_;
};

const ZooRegistry::Entry kEntry("alexnet", &Alexnet::Create);

}  // namespace
}  // namespace tessera::nn
