#include "config/overrides.h"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "config/field_types.h"
#include "config/job_reader.h"
#include "config/schema.h"
#include "config/yaml_parser.h"

namespace tessera {
namespace {

bool IsKey(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(),
                                      [](char c) { return absl::ascii_isalnum(c) || c == '_' || c == '-'; });
}

// Makes `node`, which stands at `path`, a map, where it is nothing or has a short form.
absl::Status BecomeMap(const std::string& path, const std::string& where, YamlNode& node) {
  if (node.is_null()) node = YamlNode::Map(where);
  const Section* section = Schema::Job().FindSection(path);
  if (section != nullptr) node = ExpandShortForm(*section, node);
  if (node.is_map()) return absl::OkStatus();
  return ErrorAt(where, absl::StrCat("`", path, "` is no map, it is ", Describe(node)));
}

}  // namespace

absl::StatusOr<Override> ParseOverride(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--set takes KEY=VALUE, as in train.epochs=1, not `", Clip(text), "`"));
  }
  return Override{text.substr(0, equals), text.substr(equals + 1)};
}

absl::Status ApplyOverride(const Override& change, YamlNode& file) {
  const std::string where = absl::StrCat("--set ", Clip(change.key));
  const std::vector<std::string> keys = absl::StrSplit(change.key, '.');
  if (!std::all_of(keys.begin(), keys.end(), IsKey)) return ErrorAt(where, "a key is like `train.epochs`");
  TESSERA_ASSIGN_OR_RETURN(YamlNode value, ParseYamlValue(change.value, where));
  YamlNode* node = &file;
  std::string path;
  for (const std::string& key : keys) {
    if (!path.empty()) TESSERA_RETURN_IF_ERROR(BecomeMap(path, where, *node));
    node = &node->FindOrAdd(key, where);
    path = Schema::Join(path, key);
  }
  *node = std::move(value);
  return absl::OkStatus();
}

}  // namespace tessera
