#include "worker/nn/graph.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::nn {
namespace {

constexpr char kImageName[] = "image";
constexpr char kLossKind[] = "softmax_cross_entropy";

// "job.yaml:20:7: layer `conv2`"; without a position, the layer alone.
std::string Place(const std::string& where, const std::string& name) {
  return absl::StrCat(where, where.empty() ? "" : ": ", "layer `", name, "`");
}

absl::Status ErrorAt(const LayerSpec& spec, absl::string_view message) {
  return absl::InvalidArgumentError(absl::StrCat(Place(spec.where, spec.name), ": ", message));
}

// The layer's options with its name behind every position, so that the factory's errors name it too.
Options WithLayerName(const LayerSpec& spec) {
  Options named;
  named.set_where(Place(spec.where, spec.name));
  for (const auto& [key, option] : spec.options.values()) {
    named.Set(key, {option.value, Place(option.where, spec.name)});
  }
  return named;
}

bool IsValidName(const std::string& name) {
  return std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.';
  });
}

bool IsLoss(const LayerSpec& spec) { return spec.kind == kLossKind; }

// Gives every nameless layer its kind and the smallest number that makes a new name: relu1, relu2, ...
void NameLayers(std::vector<LayerSpec>& layers) {
  std::set<std::string> taken;
  for (const LayerSpec& spec : layers) taken.insert(spec.name);
  for (LayerSpec& spec : layers) {
    for (int number = 1; spec.name.empty(); ++number) {
      std::string name = absl::StrCat(spec.kind, number);
      if (taken.insert(name).second) spec.name = std::move(name);
    }
  }
}

}  // namespace

// Adds nodes one by one and infers as it goes.
class Graph::Builder {
 public:
  // `layers` are the specs of all nodes; the last one is the loss.
  Builder(const std::vector<LayerSpec>& layers, const Shape& image, int64_t classes) : layers_(layers) {
    graph_.image_ = image;
    graph_.classes_ = classes;
  }

  absl::StatusOr<Graph> Build() {
    TESSERA_RETURN_IF_ERROR(CheckData());
    for (const LayerSpec& spec : layers_) TESSERA_RETURN_IF_ERROR(AddNode(spec));
    TESSERA_RETURN_IF_ERROR(CheckUse());
    return std::move(graph_);
  }

 private:
  absl::Status CheckData() const {
    const Shape& image = graph_.image_;
    const bool positive = std::all_of(image.begin(), image.end(), [](int64_t size) { return size > 0; });
    if (image.size() != 3 || !positive) {
      return absl::InvalidArgumentError(
          absl::StrCat("images are [C,H,W] with positive sizes, not ", ToString(image)));
    }
    if (graph_.classes_ >= 1) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("classes are 1 or more, not ", graph_.classes_));
  }

  absl::Status AddNode(const LayerSpec& spec) {
    TESSERA_RETURN_IF_ERROR(CheckName(spec));
    Node node;
    node.name = spec.name;
    TESSERA_ASSIGN_OR_RETURN(node.inputs, ResolveInputs(spec));
    TESSERA_ASSIGN_OR_RETURN(node.layer, MakeLayer(spec));
    std::vector<Shape> shapes;
    for (size_t i = 0; i < node.inputs.size(); ++i) shapes.push_back(graph_.InputShape(node, i));
    if (IsLoss(spec)) TESSERA_RETURN_IF_ERROR(CheckLogits(spec, node, shapes));
    auto inferred = node.layer->Infer(shapes);
    if (!inferred.ok()) return ErrorAt(spec, inferred.status().message());
    node.output = inferred->output;
    AddBlocks(*std::move(inferred), node);
    index_by_name_.emplace(spec.name, static_cast<int>(graph_.nodes_.size()));
    graph_.nodes_.push_back(std::move(node));
    return absl::OkStatus();
  }

  // Every layer but the loss is used, and the loss is the last one.
  absl::Status CheckUse() const {
    std::vector<bool> used(layers_.size(), false);
    for (const Node& node : graph_.nodes_) {
      for (int input : node.inputs) {
        if (input != kImage) used[input] = true;
      }
    }
    for (size_t n = 0; n + 1 < layers_.size(); ++n) {
      if (IsLoss(layers_[n])) return ErrorAt(layers_[n], "the loss is the last layer and occurs once");
      if (!used[n]) return ErrorAt(layers_[n], "no layer uses its output");
    }
    return absl::OkStatus();
  }

  absl::Status CheckName(const LayerSpec& spec) const {
    if (spec.name == kImageName) return ErrorAt(spec, "`image` is the name of the network's input");
    if (!IsValidName(spec.name)) return ErrorAt(spec, "a name consists of letters, digits, `_`, `-` and `.`");
    if (index_by_name_.count(spec.name) > 0) return ErrorAt(spec, "the name is used twice");
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<int>> ResolveInputs(const LayerSpec& spec) const {
    if (spec.inputs.empty()) return std::vector<int>{static_cast<int>(graph_.nodes_.size()) - 1};
    std::vector<int> inputs;
    for (const std::string& name : spec.inputs) {
      TESSERA_ASSIGN_OR_RETURN(const int input, ResolveInput(spec, name));
      inputs.push_back(input);
    }
    return inputs;
  }

  absl::StatusOr<int> ResolveInput(const LayerSpec& spec, const std::string& name) const {
    if (name == kImageName) return kImage;
    auto found = index_by_name_.find(name);
    if (found != index_by_name_.end()) return found->second;
    std::vector<std::string> known{kImageName};
    for (const auto& [known_name, index] : index_by_name_) known.push_back(known_name);
    const std::string nearest = NearestName(name, known);
    return ErrorAt(spec,
                   absl::StrCat("input `", name, "` is not an earlier layer",
                                nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?")));
  }

  absl::StatusOr<std::shared_ptr<const Layer>> MakeLayer(const LayerSpec& spec) const {
    const std::vector<std::string> kinds = LayerRegistry::Names();
    auto layer = LayerRegistry::Create("layer type", spec.kind, WithLayerName(spec));
    if (layer.ok()) return std::shared_ptr<const Layer>(*std::move(layer));
    // Errors of a factory have their place already; that of an unknown kind does not.
    const bool known = std::binary_search(kinds.begin(), kinds.end(), spec.kind);
    return known ? layer.status() : ErrorAt(spec, layer.status().message());
  }

  void AddBlocks(LayerShape inferred, Node& node) {
    node.weight_block = AddBlock(inferred.parameters, ParameterKind::kWeight, node.name);
    node.statistic_block = AddBlock(inferred.parameters, ParameterKind::kStatistic, node.name);
  }

  // Index of the block of those of `parameters` that are of `kind`, or -1 when none is.
  int AddBlock(const std::vector<ParameterSpec>& parameters, ParameterKind kind, const std::string& layer) {
    ParameterBlock block{layer, kind, {}};
    for (ParameterSpec parameter : parameters) {
      if (parameter.kind != kind) continue;
      parameter.name = absl::StrCat(layer, ".", parameter.name);
      block.parameters.push_back(std::move(parameter));
    }
    if (block.parameters.empty()) return -1;
    graph_.blocks_.push_back(std::move(block));
    return static_cast<int>(graph_.blocks_.size()) - 1;
  }

  // Names the layer that makes the logits, since the loss itself is seldom written down.
  absl::Status CheckLogits(const LayerSpec& spec, const Node& loss, const std::vector<Shape>& inputs) const {
    if (inputs.size() != 1 || inputs[0] == Shape{graph_.classes_}) return absl::OkStatus();
    const LayerSpec& last = loss.inputs[0] == kImage ? spec : layers_[loss.inputs[0]];
    return ErrorAt(last, absl::StrCat("the network's output is ", ToString(inputs[0]), ", but the data has ",
                                      graph_.classes_, " classes and needs [", graph_.classes_, "]"));
  }

  const std::vector<LayerSpec>& layers_;
  Graph graph_;
  std::map<std::string, int> index_by_name_;
};

absl::StatusOr<Graph> Graph::Create(std::vector<LayerSpec> layers, const Shape& image, int64_t classes) {
  if (layers.empty()) return absl::InvalidArgumentError("the network has no layers");
  if (!IsLoss(layers.back())) layers.push_back({.name = "", .kind = kLossKind, .where = layers.back().where});
  NameLayers(layers);
  return Builder(layers, image, classes).Build();
}

int64_t Graph::num_parameters() const {
  int64_t count = 0;
  for (const ParameterBlock& block : blocks_) {
    if (block.kind == ParameterKind::kWeight) count += block.num_elements();
  }
  return count;
}

const Shape& Graph::InputShape(const Node& node, size_t i) const {
  const int input = node.inputs[i];
  return input == kImage ? image_ : nodes_[input].output;
}

}  // namespace tessera::nn
