#include "cli/run_command.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/exit_codes.h"
#include "cli/job_checks.h"
#include "cli/local_cluster.h"
#include "cli/run_session.h"
#include "cli/run_trace.h"
#include "cli/signal_watch.h"
#include "cli/summary.h"
#include "common/run_folder.h"
#include "common/status.h"
#include "job/job_plan.h"

namespace tessera::cli {
namespace {

// What --servers and --workers stand for is added to the settings.
std::vector<std::string> AllSettings(const RunOptions& options) {
  std::vector<std::string> settings = options.settings;
  if (options.servers.has_value()) settings.push_back(absl::StrCat("cluster.servers=", *options.servers));
  if (options.workers.has_value()) settings.push_back(absl::StrCat("cluster.workers=", *options.workers));
  return settings;
}

absl::StatusOr<ClusterOptions> PlanCluster(const RunOptions& options, const JobSpec& job,
                                           const Console& console) {
  ClusterOptions cluster;
  TESSERA_ASSIGN_OR_RETURN(cluster.programs, ProgramFolder());
  TESSERA_ASSIGN_OR_RETURN(cluster.port, PortOf(job.cluster.coordinator));
  if (!PortIsFree(cluster.port)) {
    console.Line(absl::StrCat("port ", cluster.port, " is in use; the coordinator takes a free one"));
    cluster.port = 0;
  }
  cluster.config = options.job;
  cluster.settings = AllSettings(options);
  cluster.servers = job.cluster.servers;
  cluster.workers = job.cluster.workers;
  return cluster;
}

int64_t TotalSteps(const JobPlan& plan) { return plan.steps_per_epoch * plan.job.train.epochs; }

// Without those that a later one replaces.
std::vector<std::string> LastSettings(const std::vector<std::string>& settings) {
  const auto key = [](const std::string& setting) { return setting.substr(0, setting.find('=')); };
  std::vector<std::string> last;
  for (auto setting = settings.begin(); setting != settings.end(); ++setting) {
    const bool replaced = std::any_of(setting + 1, settings.end(),
                                      [&](const std::string& later) { return key(later) == key(*setting); });
    if (!replaced) last.push_back(*setting);
  }
  return last;
}

// The same settings, since they may change the model.
std::string EvalCommand(const RunOptions& options, const std::string& model) {
  std::vector<std::string> arguments = {options.program, "eval", options.job, model};
  for (const std::string& setting : LastSettings(options.settings)) {
    arguments.push_back("--set");
    arguments.push_back(setting);
  }
  return ShellCommand(arguments);
}

void ReportDone(const RunOptions& options, const JobPlan& plan, const Summary& summary,
                const std::string& folder, const Console& console) {
  console.Line(OutcomeLine(summary));
  for (const std::string& line : FigureLines(summary)) console.Line(line);
  console.Line(absl::StrCat("  summary         ", SummaryFile(folder)));
  console.Line(absl::StrCat("  model           ", ModelFile(folder)));
  if (plan.test_samples == 0) return;  // nothing to evaluate the model on
  console.Line(absl::StrCat("next: ", EvalCommand(options, ModelFile(folder))));
}

// Tells what the run left behind, and copies the summary to where the user wants it.
absl::Status Report(const RunOptions& options, const JobPlan& plan, const std::string& folder,
                    const SessionEnd& end, const Console& console) {
  const absl::StatusOr<Summary> summary = ReadSummary(SummaryFile(folder));
  if (!summary.ok()) {
    // A failed or killed run may well have none, and has been told already.
    const bool expected = end.signal == 0 && end.outcome.kind != RunOutcome::Kind::kFailed;
    return expected ? summary.status() : absl::OkStatus();
  }
  if (summary->done()) {
    ReportDone(options, plan, *summary, folder, console);
  } else if (summary->status != "failed") {
    const std::string line =
        absl::StrCat("job ", summary->job, ": ", OutcomeLine(*summary, TotalSteps(plan)));
    // Who interrupts us knows of it; who finds that another has ended the job is told why this is no success.
    end.signal != 0 ? console.Line(line) : console.Error(line);
  }
  if (options.summary_file.empty()) return absl::OkStatus();
  return WriteText(options.summary_file, summary->text);
}

// Makes one trace of what the nodes have left, which stays where it is when that fails.
absl::Status ReportTrace(const RunOptions& options, const RunSession& session, const std::string& folder,
                         const Console& console) {
  if (options.trace_file.empty()) return absl::OkStatus();
  const absl::Status written = WriteRunTrace(session.trace_parts(), options.trace_file, console);
  if (!written.ok()) {
    return absl::Status(written.code(), absl::StrCat(written.message(), "; each node's own trace is in ",
                                                     TraceFolder(folder)));
  }
  std::error_code ignored;
  std::filesystem::remove_all(TraceFolder(folder), ignored);
  return absl::OkStatus();
}

int Complain(const Console& console, const absl::Status& status, int code) {
  console.Error(status.message());
  return code;
}

int ExitCode(const SessionEnd& end) {
  if (end.signal != 0) return kExitSignalBase + end.signal;
  return end.outcome.kind == RunOutcome::Kind::kDone ? kExitOk : kExitFailed;
}

}  // namespace

int RunJob(const RunOptions& options, const Console& console) {
  absl::StatusOr<SignalWatch> signals = SignalWatch::Create();
  if (!signals.ok()) return Complain(console, signals.status(), kExitFailed);
  const absl::StatusOr<JobPlan> plan = PlanJob(options.job, AllSettings(options));
  if (!plan.ok()) return Complain(console, plan.status(), kExitUsage);
  for (const std::string& file : {options.summary_file, options.trace_file}) {
    const absl::Status writable = file.empty() ? absl::OkStatus() : CheckWritable(file);
    if (!writable.ok()) return Complain(console, writable, kExitUsage);
  }
  const absl::StatusOr<RunFolder> folder = RunFolder::Create(kRunsFolder, plan->job.name);
  if (!folder.ok()) return Complain(console, folder.status(), kExitUsage);

  console.Line(absl::StrCat("job ", plan->job.name, ": ", DescribePlan(*plan)));
  for (const std::string& line : DescribeWeights(*plan)) console.Line(line);
  if (!folder->moved_to().empty())
    console.Line(absl::StrCat("the earlier run is now in ", folder->moved_to()));
  absl::StatusOr<ClusterOptions> cluster = PlanCluster(options, plan->job, console);
  if (!cluster.ok()) return Complain(console, cluster.status(), kExitUsage);
  cluster->run_folder = folder->path();
  cluster->traced = !options.trace_file.empty();

  RunSession session(*std::move(cluster), plan->job.cluster.lease, &*signals, console);
  const SessionEnd end = session.Run();
  absl::Status reported = ReportTrace(options, session, folder->path(), console);
  reported.Update(
      Report(options, *plan, folder->path(), end, console));  // last: its last line is what to do next
  if (!reported.ok()) return Complain(console, reported, kExitFailed);
  return ExitCode(end);
}

}  // namespace tessera::cli
