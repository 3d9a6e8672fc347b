// tessera-coordinator: reads the job, admits servers and workers, sees the job to its end.
#include <grpc/support/log.h>
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "common/protocol.h"
#include "common/run_folder.h"
#include "common/signal_watcher.h"
#include "common/status.h"
#include "config/job_loader.h"
#include "coordinator/coordinator_node.h"
#include "coordinator/rule_check.h"
#include "job/job_plan.h"

namespace {

constexpr char kName[] = "tessera-coordinator";

absl::StatusOr<tessera::JobPlan> PlanJob(const std::string& config,
                                         const std::vector<std::string>& settings) {
  std::vector<tessera::Override> overrides;
  for (const std::string& setting : settings) {
    TESSERA_ASSIGN_OR_RETURN(overrides.emplace_back(), tessera::ParseOverride(setting));
  }
  TESSERA_ASSIGN_OR_RETURN(const tessera::JobSpec job, tessera::LoadJobFile(config, overrides));
  TESSERA_ASSIGN_OR_RETURN(tessera::JobPlan plan, tessera::MakeJobPlan(job));
  TESSERA_RETURN_IF_ERROR(tessera::CheckUpdateRule(plan));
  return plan;
}

int Complain(const absl::Status& status, int code) {
  std::fprintf(stderr, "%s: %s\n", kName, std::string(status.message()).c_str());
  return code;
}

}  // namespace

int main(int argc, char** argv) {
  std::string config;
  std::vector<std::string> settings;
  tessera::CoordinatorNodeOptions options;
  CLI::App app("The coordinator of one Tessera job.", kName);
  app.set_version_flag("--version", std::string(kName) + " " + tessera::kBuildVersion);
  app.add_option("--config", config, "the job's file")->required();
  app.add_option("--set", settings, "KEY=VALUE in place of the file's, as in train.epochs=1; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--bind", options.listen.bind,
                 "HOST:PORT to listen on (default: the job's cluster.coordinator)");
  app.add_option("--advertise", options.listen.advertise,
                 "HOST or HOST:PORT that others reach the coordinator at");
  app.add_option("--run-folder", options.run_folder,
                 "where results go (default: runs/<job's name>, after an older one has moved to <name>.1)");
  app.add_flag("--resume", options.resume,
               "go on in the run's folder: from its journal, or else from the newest checkpoint");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);
    return Complain(absl::InvalidArgumentError(error.what()), 2);
  }
  tessera::SignalWatcher signals;  // before any other thread
  gpr_set_log_function(
      [](gpr_log_func_args*) {});  // every failure reaches us as a status; one clear line is ours
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %l %v");
  spdlog::flush_on(spdlog::level::info);

  absl::StatusOr<tessera::JobPlan> plan = PlanJob(config, settings);
  if (!plan.ok()) return Complain(plan.status(), 2);
  if (app.count("--bind") == 0) {
    const std::string folder = options.run_folder.empty()
                                   ? std::string(tessera::kRunsFolder) + "/" + plan->job.name
                                   : options.run_folder;
    const std::string before = options.resume ? tessera::AddressOfPredecessor(folder) : "";
    options.listen.bind = before.empty() ? plan->job.cluster.coordinator : before;
  }
  const absl::Status status = tessera::RunCoordinatorNode(*std::move(plan), options, &signals);
  return status.ok() ? 0 : Complain(status, 1);
}
