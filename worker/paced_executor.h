// Makes a worker slow, or fast for nothing, to study what a mode of consistency does with it: an executor that takes
// its time over each training step. Evaluation is never slowed.
#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "worker/nn/executor.h"

namespace tessera {

struct PaceOptions {
  double slowdown = 1;  // a slow step takes so many times as long; at least 1
  int64_t every = 1;    // one step of so many is slow, another one for each replica: (clock + 2 replica) % every == 0
  // Above zero: nothing is computed. A step waits so long (times slowdown) between its forward and its backward, and
  // pushes gradients of zero; so a few cores can carry many workers.
  absl::Duration emulated_step = absl::ZeroDuration();
};

// Time as the executor sees it; tests give their own.
struct PaceClock {
  std::function<absl::Time()> now;
  std::function<void(absl::Duration)> sleep;
  static PaceClock Real();
};

class PacedExecutor : public nn::Executor {
 public:
  PacedExecutor(std::unique_ptr<nn::Executor> executor, std::shared_ptr<const nn::Graph> graph,
                PaceOptions options, PaceClock clock = PaceClock::Real());

  absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                      nn::ParameterExchange* exchange) override;
  absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                nn::ParameterExchange* exchange) override;
  std::string Fingerprint() const override { return executor_->Fingerprint(); }

 private:
  double SlowdownOf(const nn::StepKey& key) const;
  absl::StatusOr<nn::StepResult> EmulateStep(double slowdown, nn::ParameterExchange* exchange);

  const std::unique_ptr<nn::Executor> executor_;
  const std::shared_ptr<const nn::Graph> graph_;
  const PaceOptions options_;
  const PaceClock clock_;
};

}  // namespace tessera
