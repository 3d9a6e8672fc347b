// Loading a job file for a command, and what to say of it.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "config/job_spec.h"
#include "job/job_plan.h"

namespace tessera::cli {

// LoadJobFile with `settings` (KEY=VALUE) on top. Errors: those of ParseOverride and LoadJobFile.
absl::StatusOr<JobSpec> LoadJob(const std::string& path, const std::vector<std::string>& settings);

// The job and all that follows from it, checked as far as it can be before anything starts. Errors: those of
// LoadJob, MakeJobPlan and CheckUpdateRule, with their position in the file.
absl::StatusOr<JobPlan> PlanJob(const std::string& path, const std::vector<std::string>& settings);

// "lenet5, 431,080 parameters, 60,000 training and 10,000 test images, 5 epochs of 234 steps", and what the
// mode means, unless all replicas keep step.
std::string DescribePlan(const JobPlan& plan);

// What the model takes from its weights file and what starts afresh, and a warning of what the file has
// besides; empty without such a file.
std::vector<std::string> DescribeWeights(const JobPlan& plan);

// `arguments` as a shell reads them.
std::string ShellCommand(const std::vector<std::string>& arguments);

}  // namespace tessera::cli
