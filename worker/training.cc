#include "worker/training.h"

#include "common/status.h"

namespace tessera {

bool IsPaced(const PaceOptions& pace) {
  return pace.slowdown > 1 || pace.emulated_step > absl::ZeroDuration();
}

absl::StatusOr<Training> Training::Prepare(const JobSpec& job, const PaceOptions& pace,
                                           TraceRecorder* recorder) {
  Training training;
  if (recorder != nullptr) training.trace = recorder->AddTrack("steps");
  TESSERA_ASSIGN_OR_RETURN(training.data, OpenJobData(job.data));
  TESSERA_ASSIGN_OR_RETURN(training.plan, MakeJobPlan(job, training.data));
  if (recorder != nullptr) recorder->NameShards(training.plan.layout);
  TESSERA_ASSIGN_OR_RETURN(training.executor, nn::ExecutorRegistry::Create(
                                                  "device", job.device.kind, training.plan.graph,
                                                  nn::ExecutorOptions{job.device.threads, training.trace}));
  if (IsPaced(pace)) {
    training.executor =
        std::make_unique<PacedExecutor>(std::move(training.executor), training.plan.graph, pace);
  }
  TESSERA_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(job.seed, training.data.train->size(),
                                                            job.train.replicas, job.train.batch_size));
  TESSERA_ASSIGN_OR_RETURN(const Normalization normalization,
                           MakeNormalization(job.data.normalize, *training.data.train));
  TESSERA_ASSIGN_OR_RETURN(BatchLoader train,
                           BatchLoader::Create(training.data.train, normalization, MakeAugmentation(job)));
  training.train_batches = std::make_unique<BatchPrefetcher>(std::move(sampler), train, recorder);
  if (training.data.test != nullptr) {
    TESSERA_ASSIGN_OR_RETURN(BatchLoader test, BatchLoader::Create(training.data.test, normalization));
    training.test_loader = std::make_unique<BatchLoader>(std::move(test));
  }
  return training;
}

}  // namespace tessera
