// What a worker trains with, whichever replicas it runs: the job worked out, its data, the device. Made once
// and kept over all changes of the map.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "common/trace/trace_recorder.h"
#include "job/job_plan.h"
#include "worker/data/batch_loader.h"
#include "worker/data/batch_prefetcher.h"
#include "worker/nn/executor.h"
#include "worker/paced_executor.h"

namespace tessera {

bool IsPaced(const PaceOptions& pace);

// Members in order of construction.
struct Training {
  // `recorder` outlives it; null: nothing is recorded. Errors: the job's data, device and model.
  static absl::StatusOr<Training> Prepare(const JobSpec& job, const PaceOptions& pace,
                                          TraceRecorder* recorder);

  JobPlan plan;
  JobData data;
  std::unique_ptr<nn::Executor> executor;
  std::unique_ptr<BatchPrefetcher> train_batches;
  std::unique_ptr<BatchLoader> test_loader;  // null without a test set
  TraceTrack trace;                          // of the thread that trains
};

}  // namespace tessera
