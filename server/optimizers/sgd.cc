// sgd: plain stochastic gradient descent with weight decay.
//   g += weight_decay * w;  w -= lr * g
// g: mean gradient of the round. All numbers float32; lr and weight_decay are rounded to float32 before they
// are used. State: none. Options: lr (required, > 0), weight_decay = 0. Errors: kInvalidArgument, an option
// out of range. Source: torch.optim.SGD of PyTorch 1.13 with momentum 0.
#include "common/status.h"
#include "server/optimizer.h"
#include "server/optimizers/step_options.h"

namespace tessera {
namespace {

class Sgd : public Optimizer {
 public:
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(Options options) {
    TESSERA_ASSIGN_OR_RETURN(const StepOptions step, ReadStepOptions(options));
    TESSERA_RETURN_IF_ERROR(options.Finish("optimizer `sgd`"));
    return std::make_unique<Sgd>(step);
  }

  explicit Sgd(const StepOptions& step) : step_(step) {}

  double base_learning_rate() const override { return step_.lr; }

  double weight_decay() const override { return step_.weight_decay; }

  std::vector<OptimizerSlot> slots() const override { return {}; }

  void Apply(const UpdateContext& context, absl::Span<const float> weights, absl::Span<const float> gradient,
             absl::Span<const absl::Span<float>>, absl::Span<float> new_weights) const override {
    const float lr = static_cast<float>(context.learning_rate);
    const float weight_decay = static_cast<float>(step_.weight_decay);
    const float* __restrict w = weights.data();
    const float* __restrict g = gradient.data();
    float* __restrict out = new_weights.data();
    const size_t length = new_weights.size();
    for (size_t i = 0; i < length; ++i) out[i] = w[i] - lr * (g[i] + weight_decay * w[i]);
  }

 private:
  const StepOptions step_;
};

const OptimizerRegistry::Entry kEntry("sgd", &Sgd::Create);

}  // namespace
}  // namespace tessera
