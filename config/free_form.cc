#include "config/free_form.h"

#include <algorithm>
#include <utility>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

YamlNode ToNode(const OptionValue& option) {
  if (const auto* text = std::get_if<std::string>(&option.value)) return YamlNode::Scalar(*text);
  return YamlNode::List(std::get<std::vector<std::string>>(option.value));
}

}  // namespace

absl::Status ReadOption(const std::string& section, const YamlEntry& entry, Options& options) {
  const YamlNode& value = entry.value;
  if (value.is_scalar()) {
    options.Set(entry.key, {value.text, value.where});
    return absl::OkStatus();
  }
  const bool is_flat = std::all_of(value.items.begin(), value.items.end(),
                                   [](const YamlNode& item) { return item.is_scalar(); });
  if (!value.is_list() || !is_flat) {
    const std::string found = value.is_list() ? "a list of other things" : Describe(value);
    return ErrorAt(value.where, absl::StrCat("`", Clip(entry.key), "` in `", section,
                                             "` takes a value or a list of values, found ", found));
  }
  std::vector<std::string> texts;
  for (const YamlNode& item : value.items) texts.push_back(item.text);
  options.Set(entry.key, {std::move(texts), value.where});
  return absl::OkStatus();
}

void WriteOptions(const Options& options, YamlNode& map) {
  for (const auto& [name, option] : options.values()) map.entries.push_back({name, "", ToNode(option)});
}

}  // namespace tessera
