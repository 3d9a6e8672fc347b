// A tree back to YAML, for people to read and for ParseYaml to give the same tree again.
#pragma once

#include <string>

#include "config/yaml_node.h"

namespace tessera {

// A map of maps in lines: the first two levels indented, everything below in braces on one line; only a list
// of maps has a line for each. Strings are quoted where they must be. kNull entries are left out. Ends in a
// line break.
std::string WriteYaml(const YamlNode& map);

// Any node on one line: `{name: constant}`, `512KiB`.
std::string WriteYamlInline(const YamlNode& node);

}  // namespace tessera
