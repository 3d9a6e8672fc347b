// The executor "reference": one thread, whatever is asked for.
#include "worker/nn/executor.h"

#include <gnu/libc-version.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "worker/nn/batch_check.h"
#include "worker/reference/network.h"

namespace tessera::reference {
namespace {

class FloatExchange final : public Exchange<float> {
 public:
  explicit FloatExchange(nn::ParameterExchange* exchange) : exchange_(exchange) {}
  absl::StatusOr<absl::Span<const float>> Weights(int block) override { return exchange_->Weights(block); }
  absl::Span<float> Gradient(int block) override { return exchange_->Gradient(block); }
  absl::Status GradientReady(int block) override { return exchange_->GradientReady(block); }

 private:
  nn::ParameterExchange* const exchange_;
};

// exp and log come from the C library, which chooses by the processor's instructions.
std::string MathLibrary() {
#if defined(__x86_64__)
  const bool fma = __builtin_cpu_supports("fma") != 0;
#else
  const bool fma = false;
#endif
  return absl::StrCat("glibc ", gnu_get_libc_version(), fma ? " with fma" : "");
}

class ReferenceExecutor final : public nn::Executor {
 public:
  static absl::StatusOr<std::unique_ptr<nn::Executor>> Create(std::shared_ptr<const nn::Graph> graph,
                                                              nn::ExecutorOptions /*options*/) {
    TESSERA_ASSIGN_OR_RETURN(auto network, Network<float>::Create(graph));
    return std::make_unique<ReferenceExecutor>(std::move(graph), std::move(network));
  }

  ReferenceExecutor(std::shared_ptr<const nn::Graph> graph, std::unique_ptr<const Network<float>> network)
      : graph_(std::move(graph)), network_(std::move(network)) {}

  absl::StatusOr<nn::StepResult> Step(const nn::Batch& batch, const nn::StepKey& key,
                                      nn::ParameterExchange* exchange) override {
    TESSERA_RETURN_IF_ERROR(nn::CheckBatch(*graph_, batch));
    FloatExchange adapter(exchange);
    return network_->Step(batch.inputs, batch.labels, key, &adapter);
  }

  absl::StatusOr<nn::EvaluationResult> Evaluate(const nn::Batch& batch,
                                                nn::ParameterExchange* exchange) override {
    TESSERA_RETURN_IF_ERROR(nn::CheckBatch(*graph_, batch));
    FloatExchange adapter(exchange);
    return network_->Evaluate(batch.inputs, batch.labels, &adapter);
  }

  std::string Fingerprint() const override { return absl::StrCat("reference, ", MathLibrary()); }

 private:
  const std::shared_ptr<const nn::Graph> graph_;
  const std::unique_ptr<const Network<float>> network_;
};

const nn::ExecutorRegistry::Entry kEntry("reference", &ReferenceExecutor::Create);

}  // namespace
}  // namespace tessera::reference
