#include "cli/eval_command.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/exit_codes.h"
#include "cli/job_checks.h"
#include "common/safetensors.h"
#include "common/status.h"
#include "job/job_plan.h"
#include "worker/data/batch_loader.h"
#include "worker/data/normalization.h"
#include "worker/evaluator.h"
#include "worker/fixed_parameters.h"
#include "worker/nn/executor.h"

namespace tessera::cli {
namespace {

struct EvaluationJob {
  JobPlan plan;
  JobData data;
};

absl::StatusOr<EvaluationJob> PlanEvaluation(const std::string& path,
                                             const std::vector<std::string>& settings) {
  TESSERA_ASSIGN_OR_RETURN(const JobSpec job, LoadJob(path, settings));
  TESSERA_ASSIGN_OR_RETURN(JobData data, OpenJobData(job.data));
  TESSERA_ASSIGN_OR_RETURN(JobPlan plan, MakeJobPlan(job, data));
  if (data.test == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": the job has no `data.test` to evaluate on"));
  }
  return EvaluationJob{std::move(plan), std::move(data)};
}

absl::StatusOr<FixedParameters> LoadModel(const std::string& path, const nn::Graph& graph) {
  TESSERA_ASSIGN_OR_RETURN(const NamedTensors tensors, ReadSafetensors(path));
  absl::StatusOr<FixedParameters> parameters = FixedParameters::Create(graph, tensors);
  if (!parameters.ok()) return Annotate(parameters.status(), path);
  return parameters;
}

absl::StatusOr<EvaluationTotals> Evaluate(const EvaluationJob& job, FixedParameters* parameters) {
  const DeviceSpec& device = job.plan.job.device;
  TESSERA_ASSIGN_OR_RETURN(const std::unique_ptr<nn::Executor> executor,
                           nn::ExecutorRegistry::Create("device", device.kind, job.plan.graph,
                                                        nn::ExecutorOptions{device.threads}));
  TESSERA_ASSIGN_OR_RETURN(Normalization normalization,
                           MakeNormalization(job.plan.job.data.normalize, *job.data.train));
  TESSERA_ASSIGN_OR_RETURN(BatchLoader loader, BatchLoader::Create(job.data.test, std::move(normalization)));
  return EvaluateAll(executor.get(), parameters, &loader, job.data.test->size());
}

int Complain(const Console& console, const absl::Status& status, int code) {
  console.Error(status.message());
  return code;
}

}  // namespace

int EvaluateModel(const std::string& job_path, const std::string& model,
                  const std::vector<std::string>& settings, const Console& console) {
  const absl::StatusOr<EvaluationJob> job = PlanEvaluation(job_path, settings);
  if (!job.ok()) return Complain(console, job.status(), kExitUsage);
  absl::StatusOr<FixedParameters> parameters = LoadModel(model, *job->plan.graph);
  if (!parameters.ok()) return Complain(console, parameters.status(), kExitUsage);
  const absl::StatusOr<EvaluationTotals> totals = Evaluate(*job, &*parameters);
  if (!totals.ok()) return Complain(console, totals.status(), kExitFailed);
  console.Line(absl::StrCat("test accuracy  ", FormatExact(totals->accuracy()), "  (",
                            FormatCount(static_cast<double>(totals->correct)), " of ",
                            FormatCount(static_cast<double>(totals->samples)), ")"));
  console.Line(absl::StrCat("test loss      ", FormatExact(totals->loss())));
  return kExitOk;
}

}  // namespace tessera::cli
