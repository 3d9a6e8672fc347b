#include "cli/status_command.h"

#include <filesystem>
#include <optional>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "cli/coordinator_client.h"
#include "cli/exit_codes.h"
#include "cli/progress_text.h"
#include "cli/summary.h"
#include "cli/target.h"
#include "common/run_folder.h"
#include "common/status.h"

namespace tessera::cli {
namespace {

// The summary that the run has left, if it is over.
std::optional<Summary> SummaryOf(const Target& target) {
  if (target.folder.empty()) return std::nullopt;
  const absl::StatusOr<Summary> summary = ReadSummary(SummaryFile(target.folder));
  return summary.ok() ? std::make_optional(*summary) : std::nullopt;
}

void ShowSummary(const Summary& summary, const Target& target, const Console& console) {
  console.Line(absl::StrCat("job ", summary.job, ": ", OutcomeLine(summary)));
  for (const std::string& line : FigureLines(summary)) console.Line(line);
  console.Line(absl::StrCat("  run folder      ", target.folder));
}

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

absl::StatusOr<wire::JobStatus> Ask(const Target& target, CoordinatorClient* client) {
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

int Complain(const Console& console, const absl::Status& status, int code) {
  console.Error(status.message());
  return code;
}

}  // namespace

int ShowStatus(const std::string& target_text, const std::string& coordinator, const Console& console) {
  const absl::StatusOr<Target> target = ResolveTarget(target_text, coordinator);
  if (!target.ok()) return Complain(console, target.status(), kExitUsage);
  if (const std::optional<Summary> summary = SummaryOf(*target)) {
    ShowSummary(*summary, *target, console);
    return kExitOk;
  }
  CoordinatorClient client(target->address);
  const absl::StatusOr<wire::JobStatus> status = Ask(*target, &client);
  if (!status.ok()) return Complain(console, status.status(), kExitFailed);
  for (const std::string& line : StatusPage(*status, console.style)) console.Line(line);
  return kExitOk;
}

int StopJob(const std::string& target_text, const std::string& coordinator, const Console& console) {
  const absl::StatusOr<Target> target = ResolveTarget(target_text, coordinator);
  if (!target.ok()) return Complain(console, target.status(), kExitUsage);
  if (const std::optional<Summary> summary = SummaryOf(*target)) {
    console.Line(absl::StrCat("job ", summary->job, " is over already; ", OutcomeLine(*summary)));
    return kExitOk;
  }
  CoordinatorClient client(target->address);
  const absl::StatusOr<wire::JobStatus> status = Ask(*target, &client);
  if (!status.ok()) return Complain(console, status.status(), kExitFailed);
  if (const absl::Status stopped = client.Stop(); !stopped.ok())
    return Complain(console, stopped, kExitFailed);
  console.Line(absl::StrCat("job ", status->job(), " stops"));
  return kExitOk;
}

}  // namespace tessera::cli
