// Reads JSON strictly: what is missing, twice there, of another type, out of range or unknown is an error,
// for a file that says something else than was meant is a damaged one.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nlohmann/json.hpp"

namespace tessera {

// Errors: kDataLoss, no JSON object, a key twice, or nested deeper than anything of ours.
absl::StatusOr<nlohmann::json> ParseStrictJson(const std::string& text);

// The keys of one object, each to be asked for once. The first error sticks; what is asked for after it is 0
// or empty. The JSON outlives this. Not thread-safe.
class JsonObject {
 public:
  // `where` names the object in messages ("files[2]"); "" is the whole text.
  JsonObject(const nlohmann::json& json, std::string where);

  // From `min` to `max`, both included.
  int64_t Integer(const char* key, int64_t min, int64_t max);
  double Number(const char* key);
  bool Bool(const char* key);
  std::string Text(const char* key);
  std::vector<int64_t> Integers(const char* key, int64_t min, int64_t max);
  // The elements of a list.
  const nlohmann::json::array_t& List(const char* key);
  // "files[2]" of the list `key`, for the element's JsonObject.
  std::string ElementName(const char* key, size_t index) const;

  void Refuse(const char* key, const std::string& what);
  // kDataLoss: the first error so far.
  const absl::Status& status() const { return status_; }
  // kDataLoss: the first error, or a key that was not asked for.
  absl::Status Finish();

 private:
  const nlohmann::json* Find(const char* key);
  std::string NameOf(const std::string& key) const;

  const nlohmann::json& json_;
  const std::string where_;
  std::set<std::string> asked_;
  absl::Status status_;
};

}  // namespace tessera
