// The job of a file on one executor with no exchange at all: images per second of one replica's minibatches,
// gathered ahead on a thread of their own as a worker's are, with weights that stay as they start. What
// bench/sections/system.py holds a cluster against. Prints `ready`, waits for a line on stdin, trains, and
// prints {"images": n, "seconds": s}.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/initial_weights.h"
#include "common/rpc/process_tuning.h"
#include "common/status.h"
#include "common/tensor_buffer.h"
#include "config/job_loader.h"
#include "job/job_plan.h"
#include "worker/data/batch_prefetcher.h"
#include "worker/nn/executor.h"

namespace tessera {
namespace {

// Weights and gradients in memory.
class MemoryExchange final : public nn::ParameterExchange {
 public:
  MemoryExchange(uint64_t seed, const std::vector<ParameterBlock>& blocks) {
    for (const ParameterBlock& block : blocks) {
      const auto length = static_cast<size_t>(block.num_elements());
      weights_.push_back(std::make_unique<TensorBuffer>(length));
      gradients_.push_back(std::make_unique<TensorBuffer>(length));
      absl::Span<float> values = weights_.back()->span();
      for (const ParameterSpec& parameter : block.parameters) {
        const auto size = static_cast<size_t>(NumElements(parameter.shape));
        FillInitial(seed, parameter, 0, values.first(size));
        values.remove_prefix(size);
      }
    }
  }

  absl::StatusOr<absl::Span<const float>> Weights(int block) override {
    return absl::Span<const float>(weights_[static_cast<size_t>(block)]->span());
  }
  absl::Span<float> Gradient(int block) override { return gradients_[static_cast<size_t>(block)]->span(); }
  absl::Status GradientReady(int) override { return absl::OkStatus(); }

 private:
  std::vector<std::unique_ptr<TensorBuffer>> weights_, gradients_;
};

absl::Status Run(const std::string& path, ReplicaId replica) {
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJobFile(path, {}));
  TESSERA_ASSIGN_OR_RETURN(const JobData data, OpenJobData(job.data));
  TESSERA_ASSIGN_OR_RETURN(const JobPlan plan, MakeJobPlan(job, data));
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<nn::Executor> executor,
                           nn::ExecutorRegistry::Create("device", job.device.kind, plan.graph,
                                                        nn::ExecutorOptions{job.device.threads}));
  TESSERA_ASSIGN_OR_RETURN(Sampler sampler, Sampler::Create(job.seed, data.train->size(), job.train.replicas,
                                                            job.train.batch_size));
  TESSERA_ASSIGN_OR_RETURN(const Normalization normalization,
                           MakeNormalization(job.data.normalize, *data.train));
  TESSERA_ASSIGN_OR_RETURN(BatchLoader loader,
                           BatchLoader::Create(data.train, normalization, MakeAugmentation(job)));
  BatchPrefetcher batches(std::move(sampler), loader);
  MemoryExchange exchange(job.seed, plan.graph->blocks());
  std::puts("ready");
  std::fflush(stdout);
  std::string go;
  std::getline(std::cin, go);
  const absl::Time start = absl::Now();
  for (Clock clock = 0; clock < plan.total_steps; ++clock) {
    const std::vector<BatchKey> next = {{replica, clock + 1}, {replica, clock + 2}};
    const Clock left = plan.total_steps - 1 - clock;
    const nn::Batch batch = batches.Take(
        {replica, clock}, absl::MakeConstSpan(next).first(std::min(next.size(), static_cast<size_t>(left))));
    TESSERA_RETURN_IF_ERROR(executor->Step(batch, {job.seed, replica, clock}, &exchange).status());
  }
  const double seconds = absl::ToDoubleSeconds(absl::Now() - start);
  std::printf("{\"images\": %lld, \"seconds\": %.6f}\n",
              static_cast<long long>(plan.total_steps * job.train.batch_size), seconds);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  std::string path;
  ReplicaId replica = 0;
  CLI::App app("Trains one replica of a job without a cluster, and without learning anything.");
  app.add_option("--config", path)->required();
  app.add_option("--replica", replica)->check(CLI::Range(0, 1 << 20))->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  TuneProcess();  // as daemons are
  const absl::Status status = Run(path, replica);
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) { return tessera::Main(argc, argv); }
