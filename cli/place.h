// A process of a run by where it was started, whoever runs there now and whatever the coordinator calls it.
#pragma once

#include <string>

#include "absl/strings/str_cat.h"

namespace tessera::cli {

enum class PlaceKind { kCoordinator, kServer, kWorker };

// Plain data.
struct Place {
  PlaceKind kind = PlaceKind::kCoordinator;
  int index = 0;  // 0-based, of its kind; 0 for the coordinator

  friend bool operator==(const Place& a, const Place& b) { return a.kind == b.kind && a.index == b.index; }
  friend bool operator!=(const Place& a, const Place& b) { return !(a == b); }
};

// "coordinator", "server:1", "worker:0", as plans of faults write them.
inline std::string FormatPlace(const Place& place) {
  if (place.kind == PlaceKind::kCoordinator) return "coordinator";
  return absl::StrCat(place.kind == PlaceKind::kServer ? "server:" : "worker:", place.index);
}

}  // namespace tessera::cli
