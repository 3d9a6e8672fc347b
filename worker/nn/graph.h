// A network as pure data: layers in order of computation, their shapes, their parameters. Immutable; no
// device. The last node is the loss (`softmax_cross_entropy`); node -1 is the image input.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/options.h"
#include "common/shard_layout.h"
#include "worker/nn/layer.h"

namespace tessera::nn {

// A layer as a job file or the zoo writes it.
struct LayerSpec {
  std::string name;  // unique; prefix of its parameters ("layer1.0.conv1"); "" = made from the kind
  std::string kind;  // registered layer
  std::vector<std::string> inputs;  // names of earlier layers, or "image"; empty = the layer before
  Options options;
  std::string where;  // "job.yaml:12:3", or empty
};

struct Node {
  std::string name;
  std::shared_ptr<const Layer> layer;
  std::vector<int> inputs;  // indices of earlier nodes; kImage is the graph's input
  Shape output;             // without the batch
  int weight_block = -1;    // index into blocks(), or -1
  int statistic_block = -1;
};

class Graph {
 public:
  static constexpr int kImage = -1;

  // Infers every shape. `image` is [C,H,W]. A final softmax_cross_entropy is added when the list has none.
  // Errors: kInvalidArgument, with position and layer name: unknown kind or input, a name used twice, shapes
  // that cannot agree, a last layer whose output is not [classes].
  static absl::StatusOr<Graph> Create(std::vector<LayerSpec> layers, const Shape& image, int64_t classes);

  const std::vector<Node>& nodes() const { return nodes_; }
  const Shape& image() const { return image_; }
  int64_t classes() const { return classes_; }
  // One block of weights and one of statistics for each layer that has them, in node order; ShardLayout cuts
  // them.
  const std::vector<ParameterBlock>& blocks() const { return blocks_; }
  // Trained parameters (statistics not counted).
  int64_t num_parameters() const;
  // Shape of input `i` of `node`, without the batch.
  const Shape& InputShape(const Node& node, size_t i) const;

 private:
  class Builder;
  Graph() = default;
  std::vector<Node> nodes_;
  Shape image_;
  int64_t classes_ = 0;
  std::vector<ParameterBlock> blocks_;
};

// A named network of the zoo: lists its layers for `image` and `classes`. One network per file in zoo/.
class ZooModel {
 public:
  virtual ~ZooModel() = default;
  virtual std::vector<LayerSpec> Layers(const Shape& image, int64_t classes) const = 0;
};
using ZooRegistry = Registry<ZooModel, Options>;

}  // namespace tessera::nn
