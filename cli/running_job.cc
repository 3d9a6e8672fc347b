#include "cli/running_job.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/run_folder.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

// A run that was killed leaves its address behind, and another job may have the port now; so may the port
// that a job file names.
absl::Status CheckSameRun(const Target& target, const wire::JobStatus& status) {
  if (!target.job.empty() && target.job != status.job()) {
    return absl::FailedPreconditionError(
        absl::StrCat("job `", status.job(), "` answers at ", target.address, ", not `", target.job, "`"));
  }
  std::error_code error;
  if (target.folder.empty() || std::filesystem::equivalent(target.folder, status.run_folder(), error)) {
    return absl::OkStatus();
  }
  return absl::NotFoundError(absl::StrCat("the run in ", target.folder,
                                          " ended without a result (no summary); job `", status.job(),
                                          "` answers at its address ", target.address));
}

}  // namespace

std::optional<Summary> SummaryOf(const Target& target) {
  if (target.folder.empty()) return std::nullopt;
  const absl::StatusOr<Summary> summary = ReadSummary(SummaryFile(target.folder));
  return summary.ok() ? std::make_optional(*summary) : std::nullopt;
}

absl::StatusOr<wire::JobStatus> AskRunningJob(const Target& target, CoordinatorClient* client) {
  absl::StatusOr<wire::JobStatus> status = client->GetStatus();
  if (!status.ok() && !target.folder.empty()) {
    const bool gone = absl::IsUnavailable(status.status());
    return Annotate(status.status(),
                    absl::StrCat("the run in ", target.folder,
                                 gone ? " ended without a result (no summary)" : " has no summary"));
  }
  if (!status.ok()) return status;
  const absl::Status same = CheckSameRun(target, *status);
  if (!same.ok()) return same;
  return status;
}

}  // namespace tessera::cli
