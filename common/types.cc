#include "common/types.h"

#include "absl/strings/str_cat.h"

namespace tessera {

std::string ToString(const ReplicaRange& range) {
  if (range.first == range.last) return absl::StrCat(range.first);
  return absl::StrCat(range.first, "..", range.last);
}

}  // namespace tessera
