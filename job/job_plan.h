// A job worked out as a whole before anything starts: data, network, steps, shards. Knows no cluster; the
// coordinator, the workers, `tessera config check` and `tessera eval` start from it. (Optimizer and schedule
// are the servers': coordinator/rule_check.h checks them.)
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "common/shard_layout.h"
#include "common/types.h"
#include "config/job_spec.h"
#include "job/weights_plan.h"
#include "worker/data/augmentation.h"
#include "worker/data/dataset.h"
#include "worker/data/normalization.h"
#include "worker/nn/graph.h"

namespace tessera {

// The data sets of a job.
struct JobData {
  std::shared_ptr<const Dataset> train;
  std::shared_ptr<const Dataset> test;  // null: the job has none
};

// What follows from a job file. Immutable; the graph is shared with executors.
struct JobPlan {
  JobSpec job;
  std::shared_ptr<const nn::Graph> graph;
  ShardLayout layout;
  int64_t train_samples = 0;
  int64_t test_samples = 0;   // 0: no evaluation
  Clock steps_per_epoch = 0;  // floor(train_samples / (replicas x batch_size)), at least 1
  Clock total_steps = 0;      // minibatches of each replica
  WeightsPlan weights;        // filled by MakeJobPlan(job) alone: workers do not need the file
};

// Opens the data sets; those of files that take long to read are read by the first who needs their values
// (Dataset::Load).
// Errors, with the position in the job file: kNotFound, a file is missing (and which package has it, where
// that is known); kInvalidArgument, an unknown format or option; kDataLoss, a damaged file; those of the
// format.
absl::StatusOr<JobData> OpenJobData(const DataSpec& spec);

// Errors, with the position in the job file where there is one: kInvalidArgument, an unknown network, layer
// or option; shapes that cannot agree; train and test samples of different inputs, shapes or classes' names,
// or cut from the same files so that they may overlap; fewer samples than one minibatch for each replica;
// normalisation for another number of channels; augmentation of what is no image, or by more than its size.
absl::StatusOr<JobPlan> MakeJobPlan(const JobSpec& job, const JobData& data);

// Both of the above, and PlanWeights; the data is let go again.
absl::StatusOr<JobPlan> MakeJobPlan(const JobSpec& job);

// The normalisation that `spec` asks for: given, or measured over `train`. Errors: those of
// Normalization::Create.
absl::StatusOr<Normalization> MakeNormalization(const NormalizeSpec& spec, const Dataset& train);

// What `data.augment` asks for; none where it asks for nothing. The job has been planned.
std::optional<Augmentation> MakeAugmentation(const JobSpec& job);

// `status` with the position `where` ("job.yaml:12:3") in front, unless `where` is empty or the message has a
// position (in the same file, or a `--set` of the command line).
absl::Status AtPosition(const std::string& where, const absl::Status& status);

}  // namespace tessera
