#include "config/field_types.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_join.h"
#include "config/key_errors.h"

namespace tessera {

absl::Status TypeError(const std::string& path, absl::string_view type, const YamlNode& value) {
  return ErrorAt(value.where, absl::StrCat("`", path, "` takes ", type, ", found ", Describe(value)));
}

absl::Status RangeError(const std::string& path, absl::string_view range, const YamlNode& value) {
  return ErrorAt(value.where, absl::StrCat("`", path, "` is `", Clip(value.text), "`, it must be ", range));
}

bool IsWholeNumber(const YamlNode& value) {
  if (!value.is_scalar() || value.quoted) return false;
  const size_t start = absl::StartsWith(value.text, "-") ? 1 : 0;
  return value.text.size() > start &&
         std::all_of(value.text.begin() + start, value.text.end(), absl::ascii_isdigit);
}

std::string FormatNumber(double number) {
  char text[32];
  const std::to_chars_result end = std::to_chars(text, text + sizeof(text), number);
  return std::string(text, end.ptr);
}

absl::StatusOr<double> ReadNumber(const std::string& path, absl::string_view type, double min, double max,
                                  const YamlNode& value) {
  // absl::SimpleAtod would take `0x10`, `inf` and `nan` as well.
  const bool is_decimal = value.is_scalar() && !value.quoted &&
                          value.text.find_first_not_of("0123456789+-.eE") == std::string::npos;
  double number = 0;
  if (!is_decimal || !absl::SimpleAtod(value.text, &number)) return TypeError(path, type, value);
  if (number < min || number > max) {
    return RangeError(path, absl::StrCat("from ", FormatNumber(min), " to ", FormatNumber(max)), value);
  }
  return number;
}

absl::StatusOr<bool> ReadBool(const std::string& path, const YamlNode& value) {
  const bool is_word = value.is_scalar() && !value.quoted;
  if (is_word && value.text == "true") return true;
  if (is_word && value.text == "false") return false;
  return TypeError(path, "true or false", value);
}

absl::StatusOr<std::string> ReadText(const std::string& path, const YamlNode& value) {
  if (!value.is_scalar()) return TypeError(path, "a text", value);
  if (value.text.empty()) return ErrorAt(value.where, absl::StrCat("`", path, "` is empty"));
  return value.text;
}

absl::StatusOr<std::vector<std::string>> ReadTexts(const std::string& path, absl::string_view type,
                                                   const YamlNode& value) {
  if (value.is_scalar()) {
    TESSERA_ASSIGN_OR_RETURN(std::string text, ReadText(path, value));
    return std::vector<std::string>{std::move(text)};
  }
  if (!value.is_list() || value.items.empty()) return TypeError(path, type, value);
  std::vector<std::string> texts;
  for (const YamlNode& item : value.items) {
    TESSERA_ASSIGN_OR_RETURN(texts.emplace_back(), ReadText(path, item));
  }
  return texts;
}

absl::StatusOr<int64_t> ReadBytes(const std::string& path, int64_t min, int64_t max, const YamlNode& value) {
  if (!value.is_scalar() || value.quoted) return TypeError(path, "a size as `512KiB`", value);
  const absl::StatusOr<int64_t> bytes = ParseBytes(Clip(value.text));
  if (!bytes.ok()) return ErrorAt(value.where, absl::StrCat("`", path, "`: ", bytes.status().message()));
  if (*bytes >= min && *bytes <= max) return bytes;
  return RangeError(path, absl::StrCat("from ", FormatBytes(min), " to ", FormatBytes(max)), value);
}

absl::StatusOr<absl::Duration> ReadDuration(const std::string& path, absl::Duration min, absl::Duration max,
                                            const YamlNode& value) {
  if (!value.is_scalar() || value.quoted) return TypeError(path, "a time as `3s`", value);
  const absl::StatusOr<absl::Duration> time = ParseDuration(Clip(value.text));
  if (!time.ok()) return ErrorAt(value.where, absl::StrCat("`", path, "`: ", time.status().message()));
  if (*time >= min && *time <= max) return time;
  return RangeError(path, absl::StrCat("from ", absl::FormatDuration(min), " to ", absl::FormatDuration(max)),
                    value);
}

std::string WordsText(const Words& words) {
  const std::string built = absl::StrJoin(words.built, ", ");
  if (words.not_built.empty()) return built;
  return absl::StrCat(built, " (not built yet: ", absl::StrJoin(words.not_built, ", "), ")");
}

absl::StatusOr<std::string> ReadWord(const std::string& path, const Words& words, const YamlNode& value) {
  const std::string expected = absl::StrJoin(words.built, " or ");
  if (!value.is_scalar()) return TypeError(path, expected, value);
  const auto has = [](const std::vector<std::string>& list, absl::string_view word) {
    return std::find(list.begin(), list.end(), word) != list.end();
  };
  if (has(words.built, value.text)) return value.text;
  if (has(words.not_built, value.text.substr(0, value.text.find(':')))) {
    return NotBuiltError(value.where, absl::StrCat("`", path, ": ", Clip(value.text), "`"));
  }
  return ErrorAt(value.where, absl::StrCat("`", path, "` takes ", expected, ", found ", Describe(value),
                                           NearestHint(value.text, words.built)));
}

Field NotBuilt(std::string path, std::string text) {
  return {.path = std::move(path), .text = std::move(text), .kind = Field::Kind::kNotBuilt};
}

Field Required(Field field) {
  field.kind = Field::Kind::kRequired;
  return field;
}

}  // namespace tessera
