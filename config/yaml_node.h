// A YAML document as a plain tree that remembers where everything stood. The rest of config/ works on it and
// never sees the YAML library.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace tessera {

struct YamlEntry;

struct YamlNode {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  std::string text;                // of a scalar; one line without control characters
  bool quoted = false;             // a scalar in quotes is a string, whatever it looks like
  std::vector<YamlNode> items;     // of a list
  std::vector<YamlEntry> entries;  // of a map, in the order written; keys are distinct
  std::string where;               // "job.yaml:12:3", or empty when made by a program

  static YamlNode Scalar(std::string text, std::string where = "");
  static YamlNode List(const std::vector<std::string>& texts);
  static YamlNode Map(std::string where = "");

  bool is_null() const { return kind == Kind::kNull; }
  bool is_scalar() const { return kind == Kind::kScalar; }
  bool is_list() const { return kind == Kind::kList; }
  bool is_map() const { return kind == Kind::kMap; }

  // The value of `key` in a map, or null.
  const YamlNode* Find(absl::string_view key) const;
  YamlNode* Find(absl::string_view key);
  // The value at a path of keys ("train.epochs"), or null.
  const YamlNode* FindPath(absl::string_view path) const;
  // Where that value stands, or else the innermost map on the way to it.
  std::string WhereOf(absl::string_view path) const;
  // The value of `key`, which is added as kNull at the end, standing at `where`, when the map has none.
  YamlNode& FindOrAdd(absl::string_view key, const std::string& where);
};

struct YamlEntry {
  std::string key;
  std::string where;  // of the key
  YamlNode value;
};

// What stands there, for messages: "`five`", "the string \"5\"", "a list", "a map", "nothing".
std::string Describe(const YamlNode& node);

// `text` on one line and not endless, for messages.
std::string Clip(absl::string_view text);

// kInvalidArgument `where: message`; an empty `where` is left out.
absl::Status ErrorAt(const std::string& where, absl::string_view message);

}  // namespace tessera
