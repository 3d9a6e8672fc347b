#include "config/yaml_writer.h"

#include <yaml-cpp/emitter.h>

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

constexpr int kBlockLevels = 2;

void Emit(const YamlNode& node, int level, YAML::Emitter& emitter);

void EmitList(const YamlNode& list, int level, YAML::Emitter& emitter) {
  const bool has_maps =
      std::any_of(list.items.begin(), list.items.end(), [](const YamlNode& item) { return item.is_map(); });
  emitter << (has_maps && level <= kBlockLevels ? YAML::Block : YAML::Flow) << YAML::BeginSeq;
  for (const YamlNode& item : list.items) Emit(item, level + 1, emitter);
  emitter << YAML::EndSeq;
}

void EmitMap(const YamlNode& map, int level, YAML::Emitter& emitter) {
  emitter << (level < kBlockLevels ? YAML::Block : YAML::Flow) << YAML::BeginMap;
  for (const YamlEntry& entry : map.entries) {
    if (entry.value.is_null()) continue;
    emitter << YAML::Key << entry.key << YAML::Value;
    Emit(entry.value, level + 1, emitter);
  }
  emitter << YAML::EndMap;
}

void Emit(const YamlNode& node, int level, YAML::Emitter& emitter) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      emitter << YAML::Null;
      return;
    case YamlNode::Kind::kScalar:
      emitter << node.text;
      return;
    case YamlNode::Kind::kList:
      return EmitList(node, level, emitter);
    case YamlNode::Kind::kMap:
      return EmitMap(node, level, emitter);
  }
}

std::string Written(const YamlNode& node, int level) {
  YAML::Emitter emitter;
  Emit(node, level, emitter);
  return std::string(emitter.c_str(), emitter.size());
}

}  // namespace

std::string WriteYaml(const YamlNode& map) { return absl::StrCat(Written(map, 0), "\n"); }

std::string WriteYamlInline(const YamlNode& node) { return Written(node, kBlockLevels + 1); }

}  // namespace tessera
