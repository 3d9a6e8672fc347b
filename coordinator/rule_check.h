// Checks the update rule of a job before any server starts.
#pragma once

#include "absl/status/status.h"
#include "job/job_plan.h"

namespace tessera {

// Makes the job's optimizers and schedule once, as each server will.
// Errors, with the position in the job file: kInvalidArgument, an unknown name or option, a value out of
// range.
absl::Status CheckUpdateRule(const JobPlan& plan);

}  // namespace tessera
