#include "worker/nn/graph.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tessera::nn {
namespace {

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
  Builder(const std::vector<LayerSpec>& layers, std::vector<InputSpec> inputs, int64_t classes)
      : layers_(layers) {
    graph_.inputs_ = std::move(inputs);
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
    if (graph_.inputs_.empty()) return absl::InvalidArgumentError("the network has no input");
    std::set<std::string> names;
    for (const InputSpec& input : graph_.inputs_) {
      TESSERA_RETURN_IF_ERROR(CheckInput(input));
      if (names.insert(input.name).second) continue;
      return absl::InvalidArgumentError(absl::StrCat("two inputs are named `", input.name, "`"));
    }
    if (graph_.classes_ >= 1) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("classes are 1 or more, not ", graph_.classes_));
  }

  static absl::Status CheckInput(const InputSpec& input) {
    const Shape& shape = input.shape;
    const bool is_image = input.name == kImageName;
    const bool positive = std::all_of(shape.begin(), shape.end(), [](int64_t size) { return size > 0; });
    if (!positive || (shape.size() != 3 && (is_image || shape.size() != 1))) {
      return absl::InvalidArgumentError(
          is_image ? absl::StrCat("images are [C,H,W] with positive sizes, not ", ToString(shape))
                   : absl::StrCat("input `", input.name, "` is not [C,H,W] or [F] with positive sizes, but ",
                                  ToString(shape)));
    }
    if (!input.name.empty() && IsValidName(input.name)) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("input `", input.name, "`: a name consists of letters, digits, `_`, `-` and `.`"));
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

  // Every layer but the loss is used, and the loss is the last one; so is every input.
  absl::Status CheckUse() const {
    std::vector<bool> used(layers_.size(), false);
    std::vector<bool> used_inputs(graph_.inputs_.size(), false);
    for (const Node& node : graph_.nodes_) {
      for (int input : node.inputs) {
        if (IsInput(input)) {
          used_inputs[InputIndex(input)] = true;
        } else {
          used[input] = true;
        }
      }
    }
    for (size_t n = 0; n + 1 < layers_.size(); ++n) {
      if (IsLoss(layers_[n])) return ErrorAt(layers_[n], "the loss is the last layer and occurs once");
      if (!used[n]) return ErrorAt(layers_[n], "no layer uses its output");
    }
    for (size_t k = 0; k < used_inputs.size(); ++k) {
      if (used_inputs[k]) continue;
      return absl::InvalidArgumentError(absl::StrCat("no layer uses the input `", graph_.inputs_[k].name,
                                                     "`; name it in a layer's `inputs`"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckName(const LayerSpec& spec) const {
    if (FindInput(spec.name).has_value()) {
      return ErrorAt(spec, absl::StrCat("`", spec.name, "` is the name of the network's input"));
    }
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
    if (const std::optional<int> input = FindInput(name)) return *input;
    auto found = index_by_name_.find(name);
    if (found != index_by_name_.end()) return found->second;
    std::vector<std::string> known;
    for (const InputSpec& input : graph_.inputs_) known.push_back(input.name);
    for (const auto& [known_name, index] : index_by_name_) known.push_back(known_name);
    const std::string nearest = NearestName(name, known);
    return ErrorAt(spec,
                   absl::StrCat("input `", name, "` is not an earlier layer",
                                nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?")));
  }

  // The node index of the network's input `name`.
  std::optional<int> FindInput(const std::string& name) const {
    for (size_t k = 0; k < graph_.inputs_.size(); ++k) {
      if (graph_.inputs_[k].name == name) return -1 - static_cast<int>(k);
    }
    return std::nullopt;
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
    if (inputs.size() != 1) return absl::OkStatus();
    if (inputs[0] == Shape{graph_.classes_}) {
      if (!IsInput(loss.inputs[0])) return absl::OkStatus();
      return ErrorAt(spec, "the loss needs a layer before it");
    }
    const LayerSpec& last = IsInput(loss.inputs[0]) ? spec : layers_[loss.inputs[0]];
    return ErrorAt(last, absl::StrCat("the network's output is ", ToString(inputs[0]), ", but the data has ",
                                      graph_.classes_, " classes and needs [", graph_.classes_, "]"));
  }

  const std::vector<LayerSpec>& layers_;
  Graph graph_;
  std::map<std::string, int> index_by_name_;
};

absl::StatusOr<Graph> Graph::Create(std::vector<LayerSpec> layers, const Shape& image, int64_t classes) {
  return Create(std::move(layers), std::vector<InputSpec>{{kImageName, image}}, classes);
}

absl::StatusOr<Graph> Graph::Create(std::vector<LayerSpec> layers, std::vector<InputSpec> inputs,
                                    int64_t classes) {
  if (layers.empty()) return absl::InvalidArgumentError("the network has no layers");
  if (!IsLoss(layers.back())) layers.push_back({.name = "", .kind = kLossKind, .where = layers.back().where});
  NameLayers(layers);
  return Builder(layers, std::move(inputs), classes).Build();
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
  return IsInput(input) ? inputs_[InputIndex(input)].shape : nodes_[input].output;
}

}  // namespace tessera::nn
