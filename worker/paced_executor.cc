#include "worker/paced_executor.h"

#include <algorithm>
#include <utility>

#include "absl/time/clock.h"
#include "common/status.h"

namespace tessera {
namespace {

// Lets no gradient leave before a worker that is `slowdown` times as slow would have made it.
class PacedExchange : public nn::ParameterExchange {
 public:
  PacedExchange(nn::ParameterExchange* exchange, double slowdown, const PaceClock& clock)
      : exchange_(exchange), slowdown_(slowdown), clock_(clock), start_(clock.now()) {}

  // Waiting for weights is the cluster's time, not this worker's.
  absl::StatusOr<absl::Span<const float>> Weights(int block) override {
    const absl::Time start = clock_.now();
    auto weights = exchange_->Weights(block);
    not_computing_ += clock_.now() - start;
    return weights;
  }
  absl::Span<float> Gradient(int block) override { return exchange_->Gradient(block); }
  absl::Status GradientReady(int block) override {
    CatchUp();
    const absl::Time start = clock_.now();
    absl::Status ready = exchange_->GradientReady(block);
    not_computing_ += clock_.now() - start;  // it may wait for the weights' version
    return ready;
  }

  // Sleeps what is still owed for the computing so far.
  void CatchUp() {
    const absl::Duration computed = clock_.now() - start_ - not_computing_;
    const absl::Duration owed = computed * (slowdown_ - 1) - slept_;
    if (owed <= absl::ZeroDuration()) return;
    clock_.sleep(owed);
    slept_ += owed;
    not_computing_ += owed;
  }

 private:
  nn::ParameterExchange* const exchange_;
  const double slowdown_;
  const PaceClock& clock_;
  const absl::Time start_;
  absl::Duration not_computing_;
  absl::Duration slept_;
};

}  // namespace

PaceClock PaceClock::Real() { return {&absl::Now, &absl::SleepFor}; }

PacedExecutor::PacedExecutor(std::unique_ptr<nn::Executor> executor, std::shared_ptr<const nn::Graph> graph,
                             PaceOptions options, PaceClock clock)
    : executor_(std::move(executor)), graph_(std::move(graph)), options_(options), clock_(std::move(clock)) {}

absl::StatusOr<nn::StepResult> PacedExecutor::Step(const nn::Batch& batch, const nn::StepKey& key,
                                                   nn::ParameterExchange* exchange) {
  const double slowdown = SlowdownOf(key);
  if (options_.emulated_step > absl::ZeroDuration()) return EmulateStep(slowdown, exchange);
  PacedExchange paced(exchange, slowdown, clock_);
  TESSERA_ASSIGN_OR_RETURN(const nn::StepResult result, executor_->Step(batch, key, &paced));
  paced.CatchUp();
  return result;
}

double PacedExecutor::SlowdownOf(const nn::StepKey& key) const {
  return (key.clock + 2 * key.replica) % options_.every == 0 ? options_.slowdown : 1;
}

absl::StatusOr<nn::StepResult> PacedExecutor::EmulateStep(double slowdown, nn::ParameterExchange* exchange) {
  const int blocks = static_cast<int>(graph_->blocks().size());
  for (int block = 0; block < blocks; ++block) TESSERA_RETURN_IF_ERROR(exchange->Weights(block).status());
  clock_.sleep(options_.emulated_step * slowdown);
  for (int block = blocks - 1; block >= 0; --block) {
    const absl::Span<float> gradient = exchange->Gradient(block);
    std::fill(gradient.begin(), gradient.end(), 0.0F);
    TESSERA_RETURN_IF_ERROR(exchange->GradientReady(block));
  }
  return nn::StepResult{};
}

absl::StatusOr<nn::EvaluationResult> PacedExecutor::Evaluate(const nn::Batch& batch,
                                                             nn::ParameterExchange* exchange) {
  return executor_->Evaluate(batch, exchange);
}

}  // namespace tessera
