// in_process_run JOB SERVERS WORKERS SHUFFLE_SEED: trains the job with its whole cluster in this process and
// prints the weights digest, for tests that compare it with the daemons'.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "common/safetensors.h"
#include "common/status.h"
#include "config/job_loader.h"
#include "job/job_plan.h"
#include "tests/integration/in_process_cluster.h"

namespace {

absl::StatusOr<std::string> DigestOf(const std::string& path, const tessera::InProcessOptions& options) {
  TESSERA_ASSIGN_OR_RETURN(const tessera::JobSpec job, tessera::LoadJobFile(path, {}));
  TESSERA_ASSIGN_OR_RETURN(const tessera::JobData data, tessera::OpenJobData(job.data));
  TESSERA_ASSIGN_OR_RETURN(const tessera::JobPlan plan, tessera::MakeJobPlan(job, data));
  TESSERA_ASSIGN_OR_RETURN(const tessera::InProcessResult result, tessera::RunInProcess(plan, data, options));
  return tessera::WeightsDigest(result.tensors);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fprintf(stderr, "usage: in_process_run JOB SERVERS WORKERS SHUFFLE_SEED\n");
    return 2;
  }
  tessera::InProcessOptions options;
  options.servers = std::atoi(argv[2]);
  options.workers = std::atoi(argv[3]);
  options.shuffle_seed = std::strtoull(argv[4], nullptr, 10);
  const absl::StatusOr<std::string> digest = DigestOf(argv[1], options);
  if (!digest.ok()) {
    std::fprintf(stderr, "in_process_run: %s\n", std::string(digest.status().message()).c_str());
    return 1;
  }
  std::printf("%s\n", digest->c_str());
  return 0;
}
