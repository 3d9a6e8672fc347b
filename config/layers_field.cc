#include "config/layers_field.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "config/field_types.h"
#include "config/free_form.h"

namespace tessera {
namespace {

constexpr char kPath[] = "model.layers";

absl::Status ReadEntry(const std::string& path, const YamlEntry& entry, LayerOptions& layer) {
  const std::string entry_path = absl::StrCat(path, ".", entry.key);
  if (entry.key == "name") {
    TESSERA_ASSIGN_OR_RETURN(layer.name, ReadText(entry_path, entry.value));
    return absl::OkStatus();
  }
  if (entry.key == "type") {
    TESSERA_ASSIGN_OR_RETURN(layer.type, ReadText(entry_path, entry.value));
    return absl::OkStatus();
  }
  if (entry.key == "inputs") {
    TESSERA_ASSIGN_OR_RETURN(layer.inputs, ReadTexts(entry_path, "the names of earlier layers", entry.value));
    return absl::OkStatus();
  }
  return ReadOption(path, entry, layer.options);
}

absl::StatusOr<LayerOptions> ReadLayer(const std::string& path, const YamlNode& map) {
  if (!map.is_map()) return TypeError(path, "a map such as { type: relu }", map);
  LayerOptions layer;
  layer.where = map.where;
  layer.options.set_where(map.where);
  for (const YamlEntry& entry : map.entries) TESSERA_RETURN_IF_ERROR(ReadEntry(path, entry, layer));
  if (layer.type.empty()) return ErrorAt(map.where, absl::StrCat("missing `type` in `", path, "`"));
  return layer;
}

absl::Status ReadLayers(const YamlNode& list, JobSpec& job) {
  if (!list.is_list() || list.items.empty()) return TypeError(kPath, "a list of layers", list);
  job.model.where = list.where;
  for (const YamlNode& item : list.items) {
    const std::string path = absl::StrCat(kPath, "[", job.model.layers.size(), "]");
    TESSERA_ASSIGN_OR_RETURN(job.model.layers.emplace_back(), ReadLayer(path, item));
  }
  return absl::OkStatus();
}

YamlNode WriteLayer(const LayerOptions& layer) {
  YamlNode map = YamlNode::Map();
  if (!layer.name.empty()) map.entries.push_back({"name", "", YamlNode::Scalar(layer.name)});
  map.entries.push_back({"type", "", YamlNode::Scalar(layer.type)});
  if (!layer.inputs.empty()) map.entries.push_back({"inputs", "", YamlNode::List(layer.inputs)});
  WriteOptions(layer.options, map);
  return map;
}

YamlNode WriteLayers(const JobSpec& job) {
  YamlNode list;
  if (job.model.layers.empty()) return list;
  list.kind = YamlNode::Kind::kList;
  for (const LayerOptions& layer : job.model.layers) list.items.push_back(WriteLayer(layer));
  return list;
}

}  // namespace

Field LayersField() {
  return {
      .path = kPath,
      .type = "list of maps",
      .text =
          "The network layer by layer, in place of `name`. Each layer has a `type` and its options, and may "
          "have a `name` and `inputs` (names of earlier layers or of the data's inputs, as `image`; without them the layer before).",
      .read = ReadLayers,
      .write = WriteLayers};
}

}  // namespace tessera
