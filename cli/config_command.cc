#include "cli/config_command.h"

#include "absl/strings/str_cat.h"
#include "cli/exit_codes.h"
#include "cli/job_checks.h"
#include "config/job_loader.h"
#include "job/job_plan.h"

namespace tessera::cli {
int CheckConfig(const std::string& job, const std::vector<std::string>& settings, const Console& console) {
  const absl::StatusOr<JobPlan> plan = PlanJob(job, settings);
  if (!plan.ok()) {
    console.Error(plan.status().message());
    return kExitUsage;
  }
  console.Line(absl::StrCat(job, ": ok"));
  console.Line(absl::StrCat("  ", DescribePlan(*plan)));
  for (const std::string& line : DescribeWeights(*plan)) console.Line(absl::StrCat("  ", line));
  return kExitOk;
}

int ShowConfig(const std::string& job, const std::vector<std::string>& settings, const Console& console) {
  const absl::StatusOr<JobSpec> spec = LoadJob(job, settings);
  if (!spec.ok()) {
    console.Error(spec.status().message());
    return kExitUsage;
  }
  console.out(FormatJob(*spec));
  return kExitOk;
}

int ShowConfigReference(const Console& console) {
  console.out(FormatReference());
  return kExitOk;
}

}  // namespace tessera::cli
