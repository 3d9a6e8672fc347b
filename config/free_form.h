// The free-form part of a section: keys that an optimizer, a layer or a data format reads by itself.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "common/options.h"
#include "config/yaml_node.h"

namespace tessera {

// Adds `entry` to `options`; `section` is the path of its map, for messages.
// Errors: kInvalidArgument with position: neither a value nor a list of values.
absl::Status ReadOption(const std::string& section, const YamlEntry& entry, Options& options);

// Appends every option to `map`.
void WriteOptions(const Options& options, YamlNode& map);

}  // namespace tessera
