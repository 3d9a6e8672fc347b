// The errors about keys, in the same words everywhere.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "config/yaml_node.h"

namespace tessera {

// "unknown key `bach_size` in `train`; did you mean `batch_size`?", at the key. `section` is the path of the
// map ("": the file itself), `known` what it takes; where none is near, all are named.
absl::Status UnknownKeyError(const std::string& section, const YamlEntry& entry,
                             const std::vector<std::string>& known);

// "missing `name` in `job`", at the map.
absl::Status MissingKeyError(const std::string& section, const std::string& key, const YamlNode& map);

// "`checkpoint` is not built yet".
absl::Status NotBuiltError(const std::string& where, const std::string& what);

// "; did you mean `batch_size`?", or "" where none of `known` is near.
std::string NearestHint(const std::string& word, const std::vector<std::string>& known);

}  // namespace tessera
