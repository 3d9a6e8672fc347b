#include "config/yaml_node.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

namespace tessera {
namespace {

constexpr size_t kMaxQuotedBytes = 80;

bool IsUtf8Continuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

}  // namespace

YamlNode YamlNode::Scalar(std::string text, std::string where) {
  YamlNode node;
  node.kind = Kind::kScalar;
  node.text = std::move(text);
  node.where = std::move(where);
  return node;
}

YamlNode YamlNode::List(const std::vector<std::string>& texts) {
  YamlNode node;
  node.kind = Kind::kList;
  for (const std::string& text : texts) node.items.push_back(Scalar(text));
  return node;
}

YamlNode YamlNode::Map(std::string where) {
  YamlNode node;
  node.kind = Kind::kMap;
  node.where = std::move(where);
  return node;
}

const YamlNode* YamlNode::Find(absl::string_view key) const {
  const auto found =
      std::find_if(entries.begin(), entries.end(), [&](const YamlEntry& entry) { return entry.key == key; });
  return found == entries.end() ? nullptr : &found->value;
}

YamlNode* YamlNode::Find(absl::string_view key) {
  return const_cast<YamlNode*>(static_cast<const YamlNode*>(this)->Find(key));
}

const YamlNode* YamlNode::FindPath(absl::string_view path) const {
  const YamlNode* node = this;
  for (const absl::string_view key : absl::StrSplit(path, '.')) {
    node = node->Find(key);
    if (node == nullptr) return nullptr;
  }
  return node;
}

std::string YamlNode::WhereOf(absl::string_view path) const {
  const YamlNode* node = this;
  for (const absl::string_view key : absl::StrSplit(path, '.')) {
    const YamlNode* inner = node->Find(key);
    if (inner == nullptr) break;
    node = inner;
  }
  return node->where;
}

YamlNode& YamlNode::FindOrAdd(absl::string_view key, const std::string& where) {
  if (YamlNode* found = Find(key)) return *found;
  YamlNode value;
  value.where = where;
  entries.push_back({std::string(key), where, std::move(value)});
  return entries.back().value;
}

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return node.quoted ? absl::StrCat("the string \"", Clip(node.text), "\"")
                         : absl::StrCat("`", Clip(node.text), "`");
    case YamlNode::Kind::kList:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
  }
  return "";
}

std::string Clip(absl::string_view text) {
  size_t length = std::min(text.size(), kMaxQuotedBytes);
  while (length < text.size() && length > 0 && IsUtf8Continuation(text[length])) --length;
  std::string clipped(text.substr(0, length));
  std::replace_if(clipped.begin(), clipped.end(), absl::ascii_iscntrl, '?');
  return length < text.size() ? absl::StrCat(clipped, "...") : clipped;
}

absl::Status ErrorAt(const std::string& where, absl::string_view message) {
  const absl::Status error = absl::InvalidArgumentError(message);
  return where.empty() ? error : Annotate(error, where);
}

}  // namespace tessera
