// Small jobs over synthetic IDX files, for tests that run a whole training.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "job/job_plan.h"

namespace tessera {

struct SyntheticJob {
  JobPlan plan;
  JobData data;
};

// Writes `train` and `test` grey 28x28 images of 10 classes (a class-dependent pattern under noise, from a
// fixed seed) as IDX files into `folder`. Errors: the file system's.
absl::Status WriteSyntheticData(const std::string& folder, int train, int test);

// A job over WriteSyntheticData's files; `model` is a zoo network. `train_samples` and `batch_size` make the
// steps.
std::string SyntheticJobText(const std::string& folder, const std::string& model, int replicas,
                             int batch_size, int seed);

absl::StatusOr<SyntheticJob> MakeSyntheticJob(const std::string& text);

}  // namespace tessera
