#include "common/checkpoint/json_object.h"

#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tessera {
namespace {

using Json = nlohmann::json;

constexpr int kMaxDepth = 8;

bool IsIntegerBetween(const Json& value, int64_t min, int64_t max) {
  if (!value.is_number_integer()) return false;
  if (value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX) return false;
  const auto number = value.get<int64_t>();
  return number >= min && number <= max;
}

std::string RangeText(int64_t min, int64_t max) {
  return absl::StrCat("a whole number from ", min, " to ", max);
}

}  // namespace

absl::StatusOr<Json> ParseStrictJson(const std::string& text) {
  std::array<std::set<std::string>, kMaxDepth + 1> keys;  // of the open object at each depth
  std::string duplicate;
  bool too_deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    const bool starts =
        event == Json::parse_event_t::object_start || event == Json::parse_event_t::array_start;
    too_deep = too_deep || (starts && depth >= kMaxDepth);
    if (too_deep) return false;
    if (starts) keys[depth + 1].clear();
    if (event == Json::parse_event_t::key && !keys[depth].insert(parsed.get<std::string>()).second) {
      duplicate = parsed.get<std::string>();
    }
    return true;
  };
  Json json = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (too_deep) return absl::DataLossError("nested too deep");
  if (!json.is_object()) return absl::DataLossError("not a JSON object");
  if (!duplicate.empty()) return absl::DataLossError(absl::StrCat("`", duplicate, "` occurs twice"));
  return json;
}

JsonObject::JsonObject(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
  if (json_.is_object()) return;
  status_ = absl::DataLossError(absl::StrCat("`", where_, "` is not an object"));
}

std::string JsonObject::NameOf(const std::string& key) const {
  return where_.empty() ? key : absl::StrCat(where_, ".", key);
}

std::string JsonObject::ElementName(const char* key, size_t index) const {
  return absl::StrCat(NameOf(key), "[", index, "]");
}

void JsonObject::Refuse(const char* key, const std::string& what) {
  if (status_.ok()) status_ = absl::DataLossError(absl::StrCat("`", NameOf(key), "` ", what));
}

const Json* JsonObject::Find(const char* key) {
  asked_.insert(key);
  if (!status_.ok()) return nullptr;
  const auto found = json_.find(key);
  if (found != json_.end()) return &*found;
  Refuse(key, "is missing");
  return nullptr;
}

int64_t JsonObject::Integer(const char* key, int64_t min, int64_t max) {
  const Json* value = Find(key);
  if (value == nullptr) return 0;
  if (IsIntegerBetween(*value, min, max)) return value->get<int64_t>();
  Refuse(key, absl::StrCat("is not ", RangeText(min, max)));
  return 0;
}

double JsonObject::Number(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return 0;
  if (value->is_number() && std::isfinite(value->get<double>())) return value->get<double>();
  Refuse(key, "is not a number");
  return 0;
}

bool JsonObject::Bool(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return false;
  if (value->is_boolean()) return value->get<bool>();
  Refuse(key, "is not true or false");
  return false;
}

std::string JsonObject::Text(const char* key) {
  const Json* value = Find(key);
  if (value == nullptr) return "";
  if (value->is_string()) return value->get<std::string>();
  Refuse(key, "is not a text");
  return "";
}

std::vector<int64_t> JsonObject::Integers(const char* key, int64_t min, int64_t max) {
  std::vector<int64_t> numbers;
  for (const Json& value : List(key)) {
    if (!IsIntegerBetween(value, min, max)) {
      Refuse(key, absl::StrCat("has something else than ", RangeText(min, max)));
      return {};
    }
    numbers.push_back(value.get<int64_t>());
  }
  return numbers;
}

const Json::array_t& JsonObject::List(const char* key) {
  static const auto* const kEmpty = new Json::array_t;
  const Json* value = Find(key);
  if (value == nullptr) return *kEmpty;
  if (value->is_array()) return value->get_ref<const Json::array_t&>();
  Refuse(key, "is not a list");
  return *kEmpty;
}

absl::Status JsonObject::Finish() {
  if (!status_.ok()) return status_;
  for (const auto& [key, value] : json_.items()) {
    if (asked_.count(key) == 0) {
      return absl::DataLossError(absl::StrCat("`", NameOf(key), "` is not known"));
    }
  }
  return absl::OkStatus();
}

}  // namespace tessera
