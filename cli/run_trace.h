// `tessera run --trace FILE`: one trace of what all nodes of the cluster have left.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "cli/console.h"
#include "common/trace/trace_merge.h"

namespace tessera::cli {

// Joins `parts` in `path` and says so, and what is not in it. The parts may be deleted afterwards.
// Errors: kUnavailable, `path` cannot be written to its end.
absl::Status WriteRunTrace(absl::Span<const TracePart> parts, const std::string& path,
                           const Console& console);

}  // namespace tessera::cli
