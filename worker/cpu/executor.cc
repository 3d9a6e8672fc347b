// The executor "cpu": oneDNN, with a plan for each batch size.
#include "worker/nn/executor.h"

#include <algorithm>
#include <list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/cpu/fingerprint.h"
#include "worker/cpu/plan.h"
#include "worker/cpu/thread_scope.h"
#include "worker/nn/batch_check.h"

namespace tessera::cpu {
namespace {

// A job has two batch sizes in training and evaluation each: the whole chunks and the last.
constexpr size_t kMaxPlans = 4;

class CpuExecutor final : public nn::Executor {
 public:
  static absl::StatusOr<std::unique_ptr<nn::Executor>> Create(std::shared_ptr<const nn::Graph> graph,
                                                              nn::ExecutorOptions options) {
    if (options.threads < 1) {
      return absl::InvalidArgumentError(absl::StrCat("threads are 1 or more, not ", options.threads));
    }
    try {
      return std::make_unique<CpuExecutor>(std::move(graph), options);
    } catch (const dnnl::error& error) {
      return absl::InternalError(absl::StrCat("oneDNN: ", error.what()));
    }
  }

  CpuExecutor(std::shared_ptr<const nn::Graph> graph, const nn::ExecutorOptions& options)
      : graph_(std::move(graph)), options_(options), engine_(dnnl::engine::kind::cpu, 0) {}

  absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                      nn::ParameterExchange* exchange) override {
    TESSERA_RETURN_IF_ERROR(nn::CheckBatch(*graph_, batch));
    const ThreadScope threads(options_.threads);
    TESSERA_ASSIGN_OR_RETURN(Plan * plan, PlanFor(batch.size(), /*training=*/true));
    TESSERA_ASSIGN_OR_RETURN(const nn::EvaluationResult sums, plan->Forward(batch, key, exchange));
    TESSERA_RETURN_IF_ERROR(plan->Backward(exchange));
    return nn::StepResult{sums.loss_sum / static_cast<double>(batch.size()), sums.correct};
  }

  absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                nn::ParameterExchange* exchange) override {
    TESSERA_RETURN_IF_ERROR(nn::CheckBatch(*graph_, batch));
    const ThreadScope threads(options_.threads);
    TESSERA_ASSIGN_OR_RETURN(Plan * plan, PlanFor(batch.size(), /*training=*/false));
    return plan->Forward(batch, {}, exchange);
  }

  std::string Fingerprint() const override {
    return absl::StrCat(MachineFingerprint(), ", ", options_.threads,
                        options_.threads == 1 ? " thread" : " threads");
  }

 private:
  // The plan for `size` images, made when there is none; the least recently used one makes room.
  absl::StatusOr<Plan*> PlanFor(int64_t size, bool training) {
    const auto found = std::find_if(plans_.begin(), plans_.end(), [&](const auto& plan) {
      return plan->batch() == size && plan->training() == training;
    });
    if (found != plans_.end()) {
      plans_.splice(plans_.begin(), plans_, found);
      return plans_.front().get();
    }
    if (plans_.size() == kMaxPlans) plans_.pop_back();
    TESSERA_ASSIGN_OR_RETURN(auto plan, Plan::Create(graph_, size, training, engine_));
    plan->set_trace(options_.trace);
    plans_.push_front(std::move(plan));
    return plans_.front().get();
  }

  const std::shared_ptr<const nn::Graph> graph_;
  const nn::ExecutorOptions options_;
  const dnnl::engine engine_;
  std::list<std::unique_ptr<Plan>> plans_;  // most recently used first
};

const nn::ExecutorRegistry::Entry kEntry("cpu", &CpuExecutor::Create);

}  // namespace
}  // namespace tessera::cpu
