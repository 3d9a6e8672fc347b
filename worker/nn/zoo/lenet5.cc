// LeNet-5 in Caffe's form: two convolutions with max-pooling and two fully connected layers, without padding.
// 431,080 parameters for images [1,28,28] and 10 classes. No options.
// Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition"; Caffe's
// examples/mnist/lenet.
#include "common/status.h"
#include "worker/nn/graph.h"

namespace tessera::nn {
namespace {

class Lenet5 final : public ZooModel {
 public:
  static absl::StatusOr<std::unique_ptr<ZooModel>> Create(Options options) {
    TESSERA_RETURN_IF_ERROR(options.Finish("network `lenet5`"));
    return std::make_unique<Lenet5>();
  }

  std::vector<LayerSpec> Layers(const Shape& /*image*/, int64_t classes) const override {
    const std::string outputs = std::to_string(classes);
    return {
        {.name = "conv1", .kind = "conv2d", .options = {{"out_channels", "20"}, {"kernel", "5"}}},
        {.name = "pool1", .kind = "max_pool", .options = {{"kernel", "2"}}},
        {.name = "conv2", .kind = "conv2d", .options = {{"out_channels", "50"}, {"kernel", "5"}}},
        {.name = "pool2", .kind = "max_pool", .options = {{"kernel", "2"}}},
        {.name = "flatten", .kind = "flatten"},
        {.name = "fc1", .kind = "linear", .options = {{"out_features", "500"}}},
        {.name = "relu1", .kind = "relu"},
        {.name = "fc2", .kind = "linear", .options = {{"out_features", outputs}}},
    };
  }
};

const ZooRegistry::Entry kEntry("lenet5", &Lenet5::Create);

}  // namespace
}  // namespace tessera::nn
