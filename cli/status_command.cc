#include "cli/status_command.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "cli/coordinator_client.h"
#include "cli/exit_codes.h"
#include "cli/progress_text.h"
#include "cli/running_job.h"
#include "cli/summary.h"
#include "cli/target.h"

namespace tessera::cli {
namespace {

void ShowSummary(const Summary& summary, const Target& target, const Console& console) {
  console.Line(absl::StrCat("job ", summary.job, ": ", OutcomeLine(summary)));
  for (const std::string& line : FigureLines(summary)) console.Line(line);
  console.Line(absl::StrCat("  run folder      ", target.folder));
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
  const absl::StatusOr<wire::JobStatus> status = AskRunningJob(*target, &client);
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
  const absl::StatusOr<wire::JobStatus> status = AskRunningJob(*target, &client);
  if (!status.ok()) return Complain(console, status.status(), kExitFailed);
  if (const absl::Status stopped = client.Stop(); !stopped.ok())
    return Complain(console, stopped, kExitFailed);
  console.Line(absl::StrCat("job ", status->job(), " stops"));
  return kExitOk;
}

}  // namespace tessera::cli
