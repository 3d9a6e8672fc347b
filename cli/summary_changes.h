// What `tessera run` knows of a run and its coordinator does not, put into the summary that the coordinator
// left.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/chaos_player.h"

namespace tessera::cli {

struct SummaryChanges {
  std::vector<Injection>
      injections;       // each becomes an event "injected", in the order of time among the others
  std::string failure;  // why the run failed although the coordinator does not say so, or ""
};

// The summary `text` with the changes; all else, and its order, stays as it is.
// Errors: kDataLoss, `text` is not a summary.
absl::StatusOr<std::string> ChangeSummary(absl::string_view text, const SummaryChanges& changes);

// Changes the file, all or nothing. OK when nothing changes, or when there is no such file: not every failed
// run leaves one. Errors: kDataLoss, not a summary; those of WriteFileAtomically; both name the path.
absl::Status ChangeSummaryFile(const std::string& path, const SummaryChanges& changes);

}  // namespace tessera::cli
