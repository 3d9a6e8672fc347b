// Sizes and times with their units, as job files write them.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace tessera {

// "512KiB", "1MiB", "2GiB", "100B", "1MB" (10^6), or a bare number of bytes.
// Errors: kInvalidArgument, no such unit, negative, overflow.
absl::StatusOr<int64_t> ParseBytes(absl::string_view text);
// The shortest exact form: "512KiB".
std::string FormatBytes(int64_t bytes);

// "30s", "500ms", "2m", "1h". A bare number is refused: it has no unit.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);

}  // namespace tessera
