#include "absl/strings/str_split.h"
#include "config/free_form.h"
#include "config/job_loader.h"
#include "config/schema.h"
#include "config/yaml_writer.h"

namespace tessera {
namespace {

// The node of `path`, with the maps on the way there.
YamlNode& At(absl::string_view path, YamlNode& file) {
  YamlNode* node = &file;
  for (const absl::string_view key : absl::StrSplit(path, '.', absl::SkipEmpty())) {
    if (node->is_null()) *node = YamlNode::Map();
    node = &node->FindOrAdd(key, "");
  }
  return *node;
}

void WriteSection(const Section& section, const JobSpec& job, YamlNode& file) {
  YamlNode& map = At(section.path, file);
  map.kind = YamlNode::Kind::kMap;
  for (const Field& field : Schema::Job().fields()) {
    if (Schema::SectionOf(field.path) != section.path || !field.write) continue;
    YamlNode value = field.write(job);
    if (!value.is_null())
      map.entries.push_back({std::string(Schema::KeyOf(field.path)), "", std::move(value)});
  }
  const Options* options = section.options_of ? section.options_of(job) : nullptr;
  if (options != nullptr) WriteOptions(*options, map);
}

bool Lacks(const Section& section, const JobSpec& job) {
  return section.options_of && section.options_of(job) == nullptr;
}

}  // namespace

std::string FormatJob(const JobSpec& job) {
  YamlNode file = YamlNode::Map();
  for (const Section& section : Schema::Job().sections()) {
    if (!Lacks(section, job)) WriteSection(section, job, file);
  }
  return WriteYaml(file);
}

}  // namespace tessera
