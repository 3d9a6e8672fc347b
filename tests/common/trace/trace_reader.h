// Reads traces back, for tests.
#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tessera {

using Json = nlohmann::json;

// The events of `events` with phase `phase` and, unless empty, category `category`.
inline std::vector<Json> Select(const Json& events, const std::string& phase,
                                const std::string& category = "") {
  std::vector<Json> found;
  for (const Json& event : events) {
    if (event.at("ph") == phase && (category.empty() || event.value("cat", "") == category))
      found.push_back(event);
  }
  return found;
}

// The value of metadata `name`, by process and track; "" where there is none.
inline std::string MetadataOf(const Json& events, const std::string& name, int64_t pid, int64_t tid) {
  for (const Json& event : Select(events, "M")) {
    if (event.at("name") == name && event.at("pid") == pid && event.value("tid", int64_t{0}) == tid) {
      return event.at("args").at("name");
    }
  }
  return "";
}

}  // namespace tessera
