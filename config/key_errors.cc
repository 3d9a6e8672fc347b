#include "config/key_errors.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/options.h"

namespace tessera {
namespace {

// Edit distance costs the product of the lengths, so that only what could be a key is compared.
constexpr size_t kMaxComparedBytes = 64;

std::string In(const std::string& section) {
  return section.empty() ? "" : absl::StrCat(" in `", section, "`");
}

}  // namespace

absl::Status UnknownKeyError(const std::string& section, const YamlEntry& entry,
                             const std::vector<std::string>& known) {
  const std::string nearest = NearestHint(entry.key, known);
  return ErrorAt(
      entry.where,
      absl::StrCat("unknown key `", Clip(entry.key), "`", In(section),
                   nearest.empty() ? absl::StrCat(" (known: ", absl::StrJoin(known, ", "), ")") : nearest));
}

absl::Status MissingKeyError(const std::string& section, const std::string& key, const YamlNode& map) {
  return ErrorAt(map.where, absl::StrCat("missing `", key, "`", In(section)));
}

absl::Status NotBuiltError(const std::string& where, const std::string& what) {
  return ErrorAt(where, absl::StrCat(what, " is not built yet"));
}

std::string NearestHint(const std::string& word, const std::vector<std::string>& known) {
  if (word.size() > kMaxComparedBytes) return "";
  const std::string nearest = NearestName(word, known);
  return nearest.empty() ? "" : absl::StrCat("; did you mean `", nearest, "`?");
}

}  // namespace tessera
