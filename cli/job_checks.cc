#include "cli/job_checks.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "cli/text.h"
#include "common/status.h"
#include "config/job_loader.h"
#include "coordinator/rule_check.h"

namespace tessera::cli {
namespace {

std::string Count(int64_t value) { return FormatCount(static_cast<double>(value)); }

// What the mode of a job means, unless all replicas keep step: "; ssp, 4 replicas in groups of 1, at most 3
// ahead of the slowest".
std::string DescribeMode(const TrainSpec& train) {
  const ConsistencySpec& consistency = train.consistency;
  if (consistency.mode == "sync") {
    return consistency.drop_stragglers == 0
               ? ""
               : absl::StrCat("; sync, each step without the last ", consistency.drop_stragglers, " of ",
                              train.replicas, " replicas");
  }
  return absl::StrCat("; ", consistency.mode, ", ", train.replicas,
                      train.replicas == 1 ? " replica" : " replicas", " in groups of ", consistency.group,
                      ", ",
                      consistency.staleness == ConsistencySpec::kUnbounded
                          ? "no bound on staleness"
                          : absl::StrCat("at most ", consistency.staleness, " ahead of the slowest"));
}

std::string Quote(const std::string& argument) {
  bool plain = !argument.empty();
  for (const char c : argument) {
    plain = plain &&
            (absl::ascii_isalnum(c) || absl::string_view("-_./:=,+@%").find(c) != absl::string_view::npos);
  }
  return plain ? argument : absl::StrCat("'", absl::StrReplaceAll(argument, {{"'", "'\\''"}}), "'");
}

}  // namespace

absl::StatusOr<JobSpec> LoadJob(const std::string& path, const std::vector<std::string>& settings) {
  std::vector<Override> overrides;
  for (const std::string& setting : settings) {
    TESSERA_ASSIGN_OR_RETURN(overrides.emplace_back(), ParseOverride(setting));
  }
  return LoadJobFile(path, overrides);
}

absl::StatusOr<JobPlan> PlanJob(const std::string& path, const std::vector<std::string>& settings) {
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJob(path, settings));
  TESSERA_ASSIGN_OR_RETURN(JobPlan plan, MakeJobPlan(job));
  TESSERA_RETURN_IF_ERROR(CheckUpdateRule(plan));
  return plan;
}

std::string DescribePlan(const JobPlan& plan) {
  const std::string model = plan.job.model.name.empty() ? "own layers" : plan.job.model.name;
  return absl::StrCat(model, ", ", Count(plan.graph->num_parameters()), " parameters, ",
                      Count(plan.train_samples), " training and ", Count(plan.test_samples), " test images, ",
                      plan.job.train.epochs, plan.job.train.epochs == 1 ? " epoch of " : " epochs of ",
                      Count(plan.steps_per_epoch), plan.steps_per_epoch == 1 ? " step" : " steps",
                      DescribeMode(plan.job.train));
}

std::vector<std::string> DescribeWeights(const JobPlan& plan) {
  std::vector<std::string> lines;
  if (!plan.weights.summary.empty()) lines.push_back(plan.weights.summary);
  if (!plan.weights.warning.empty()) lines.push_back(absl::StrCat("warning: ", plan.weights.warning));
  return lines;
}

std::string ShellCommand(const std::vector<std::string>& arguments) {
  return absl::StrJoin(arguments, " ",
                       [](std::string* out, const std::string& argument) { *out += Quote(argument); });
}

}  // namespace tessera::cli
