// What a job's weights file (model.weights) gives its model: checked before anything starts.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/shard_layout.h"
#include "config/job_spec.h"

namespace tessera {

struct WeightsPlan {
  // Of each shard's first values, by id; empty: the job has no weights file.
  std::vector<uint64_t> shard_digests;
  std::string summary;  // for people: StartingWeights::summary and warning; "" where there is nothing to say
  std::string warning;
};

// Reads the whole file once, a shard at a time.
// Errors: those of StartingWeights, with the model's position in the job file.
absl::StatusOr<WeightsPlan> PlanWeights(const JobSpec& job, const ShardLayout& layout);

}  // namespace tessera
