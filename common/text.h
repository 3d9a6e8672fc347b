// Text from elsewhere, made fit for one line of a log and for a protobuf string.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace tessera {

// `text` as one line of valid UTF-8, at most `max_bytes` long: control characters become spaces, bytes that
// are not UTF-8 become `?`, and a cut leaves whole characters and ends in "...".
std::string PrintableLine(absl::string_view text, size_t max_bytes = 2000);

}  // namespace tessera
