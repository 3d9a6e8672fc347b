// YAML text to a tree of positions, strictly: what a job never needs is refused rather than understood
// (duplicate keys, anchors, aliases, tags, several documents, values of several lines).
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "config/yaml_node.h"

namespace tessera {

// One document. Positions are `source:line:column`, from 1. A text without a document (empty, comments alone)
// is kNull. No exception escapes.
// Errors: kInvalidArgument, one line with position: not YAML, not text, or refused as above.
absl::StatusOr<YamlNode> ParseYaml(const std::string& text, const std::string& source);

// As ParseYaml, for a value given on the command line: everything in it stands at `where`.
absl::StatusOr<YamlNode> ParseYamlValue(const std::string& text, const std::string& where);

}  // namespace tessera
