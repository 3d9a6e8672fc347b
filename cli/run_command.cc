#include "cli/run_command.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/chaos_generator.h"
#include "cli/chaos_plan.h"
#include "cli/exit_codes.h"
#include "cli/job_checks.h"
#include "cli/local_cluster.h"
#include "cli/run_session.h"
#include "cli/run_trace.h"
#include "cli/signal_watch.h"
#include "cli/summary.h"
#include "cli/summary_changes.h"
#include "cli/text.h"
#include "common/run_folder.h"
#include "common/status.h"
#include "job/job_plan.h"

namespace tessera::cli {
namespace {

constexpr char kRandomPlan[] = "random";

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
  cluster.resume = options.resume;
  cluster.traced = !options.trace_file.empty();
  return cluster;
}

// The plan of faults; nothing without one.
absl::StatusOr<std::optional<ChaosPlan>> PlanChaos(const RunOptions& options, const JobPlan& plan) {
  if (options.chaos.empty()) return std::nullopt;
  const ChaosCluster cluster = {.servers = plan.job.cluster.servers, .workers = plan.job.cluster.workers};
  if (options.chaos == kRandomPlan) {
    return RandomChaosPlan(
        options.chaos_seed,
        {.cluster = cluster, .steps = plan.total_steps, .server_backups = plan.job.cluster.server_backups});
  }
  std::string text = options.chaos, source = "--chaos";
  if (text[0] == '@') {
    source = text.substr(1);
    std::ifstream file(source, std::ios::binary);
    if (!file) return absl::NotFoundError(absl::StrCat("cannot read the plan of faults ", source));
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  return ParseChaosPlan(text, source, cluster);
}

// What the daemons do of the plan.
void AddFaults(const ChaosPlan& plan, uint64_t seed, ClusterOptions* cluster) {
  const auto add = [cluster](const char* flag, const std::string& value) {
    cluster->fault_arguments.insert(cluster->fault_arguments.end(), {flag, value});
  };
  if (plan.drop_percent > 0) add("--fault-loss", FormatExact(plan.drop_percent / 100));
  if (plan.cut_percent > 0) add("--fault-cut", FormatExact(plan.cut_percent / 100));
  cluster->fault_seed = seed;
  for (const ChaosSlowdown& slowdown : plan.slowdowns) cluster->slowdowns[slowdown.worker] = slowdown.factor;
}

// A fresh folder, or that of the run to go on with.
absl::StatusOr<RunFolder> TakeRunFolder(const RunOptions& options, const std::string& name) {
  if (!options.resume) return RunFolder::Create(kRunsFolder, name);
  TESSERA_ASSIGN_OR_RETURN(RunFolder folder, RunFolder::Reopen(kRunsFolder, name));
  const std::string summary_file = SummaryFile(folder.path());
  const absl::StatusOr<Summary> summary = ReadSummary(summary_file);
  if (summary.ok() && summary->done()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the run in ", folder.path(), " is finished; there is nothing to resume"));
  }
  // Not to be taken for the one that is to come.
  std::error_code ignored;
  std::filesystem::rename(summary_file, absl::StrCat(summary_file, ".before"), ignored);
  return folder;
}

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
        absl::StrCat("job ", summary->job, ": ", OutcomeLine(*summary, plan.total_steps));
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

// Puts what only this command knows into the summary.
absl::Status CompleteSummary(const RunSession& session, const SessionEnd& end, const std::string& folder) {
  SummaryChanges changes = {.injections = session.injections(), .failure = ""};
  const bool failed = end.signal == 0 && end.outcome.kind == RunOutcome::Kind::kFailed;
  if (failed && !end.outcome.coordinator_knows) changes.failure = end.outcome.message;
  return ChangeSummaryFile(SummaryFile(folder), changes);
}

// Errors: kAborted, a fault of the plan was never injected, although the run ended in order.
absl::Status CheckAllFired(const RunSession& session, const SessionEnd& end) {
  const std::vector<std::string> unfired = session.unfired();
  if (unfired.empty() || end.signal != 0 || end.outcome.kind != RunOutcome::Kind::kDone)
    return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("the run was over before ",
                                         unfired.size() == 1 ? "this fault" : "these faults",
                                         " of the plan: ", absl::StrJoin(unfired, "; ")));
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
  const absl::StatusOr<std::optional<ChaosPlan>> chaos = PlanChaos(options, *plan);
  if (!chaos.ok()) return Complain(console, chaos.status(), kExitUsage);
  const absl::StatusOr<RunFolder> folder = TakeRunFolder(options, plan->job.name);
  if (!folder.ok()) return Complain(console, folder.status(), kExitUsage);

  console.Line(absl::StrCat("job ", plan->job.name, ": ", DescribePlan(*plan)));
  for (const std::string& line : DescribeWeights(*plan)) console.Line(line);
  if (!folder->moved_to().empty())
    console.Line(absl::StrCat("the earlier run is now in ", folder->moved_to()));
  absl::StatusOr<ClusterOptions> cluster = PlanCluster(options, plan->job, console);
  if (!cluster.ok()) return Complain(console, cluster.status(), kExitUsage);
  cluster->run_folder = folder->path();
  if (chaos->has_value()) {
    console.Line(absl::StrCat("chaos, seed ", options.chaos_seed, ": ", FormatChaosPlan(**chaos)));
    AddFaults(**chaos, options.chaos_seed, &*cluster);
  }

  const SessionOptions session_options = {
      .lease = plan->job.cluster.lease, .restart = options.restart, .plan = *chaos};
  RunSession session(*std::move(cluster), session_options, &*signals, console);
  const SessionEnd end = session.Run();
  absl::Status reported = CompleteSummary(session, end, folder->path());
  reported.Update(ReportTrace(options, session, folder->path(), console));
  reported.Update(
      Report(options, *plan, folder->path(), end, console));  // last: its last line is what to do next
  reported.Update(CheckAllFired(session, end));
  if (!reported.ok()) return Complain(console, reported, kExitFailed);
  return ExitCode(end);
}

}  // namespace tessera::cli
