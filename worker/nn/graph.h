// A network as pure data: layers in order of computation, their shapes, their parameters. Immutable; no
// device. The last node is the loss (`softmax_cross_entropy`); node -1-k is input k.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/options.h"
#include "common/shard_layout.h"
#include "worker/nn/input_spec.h"
#include "worker/nn/layer.h"

namespace tessera::nn {

// A layer as a job file or the zoo writes it.
struct LayerSpec {
  std::string name;  // unique; prefix of its parameters ("layer1.0.conv1"); "" = made from the kind
  std::string kind;  // registered layer
  std::vector<std::string> inputs;  // names of earlier layers or of inputs; empty = the layer before
  Options options;
  std::string where;  // "job.yaml:12:3", or empty
};

struct Node {
  std::string name;
  std::shared_ptr<const Layer> layer;
  std::vector<int> inputs;  // indices of earlier nodes; -1-k is the graph's input k
  Shape output;             // without the batch
  int weight_block = -1;    // index into blocks(), or -1
  int statistic_block = -1;
};

class Graph {
 public:
  static constexpr int kImage = -1;  // the first input
  static constexpr bool IsInput(int node) { return node < 0; }
  // Place of the input `node` in inputs(); IsInput(node).
  static constexpr size_t InputIndex(int node) { return static_cast<size_t>(-1 - node); }

  // Infers every shape. `inputs` are [C,H,W] or [F] (the one named `image` is [C,H,W]), and each is used; a
  // first layer that names none takes the first. A final softmax_cross_entropy is added when there is none.
  // Errors: kInvalidArgument, with position and layer name: unknown kind or input, a name used twice, shapes
  // that cannot agree, a last layer whose output is not [classes], an input that no layer uses.
  static absl::StatusOr<Graph> Create(std::vector<LayerSpec> layers, std::vector<InputSpec> inputs,
                                      int64_t classes);
  // With one input, `image` [C,H,W].
  static absl::StatusOr<Graph> Create(std::vector<LayerSpec> layers, const Shape& image, int64_t classes);

  const std::vector<Node>& nodes() const { return nodes_; }
  const std::vector<InputSpec>& inputs() const { return inputs_; }  // at least one
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
  std::vector<InputSpec> inputs_;
  int64_t classes_ = 0;
  std::vector<ParameterBlock> blocks_;
};

// A named network of the zoo: lists its layers for the input `image` [C,H,W] and `classes`. One network per
// file in zoo/.
class ZooModel {
 public:
  virtual ~ZooModel() = default;
  virtual std::vector<LayerSpec> Layers(const Shape& image, int64_t classes) const = 0;
};
using ZooRegistry = Registry<ZooModel, Options>;

}  // namespace tessera::nn
