// momentum: heavy-ball gradient descent with weight decay.
//   g += weight_decay * w;  buffer = momentum * buffer + g;  w -= lr * buffer
// g: mean gradient of the round. All numbers float32; lr, momentum and weight_decay are rounded to float32
// before they are used. State: momentum_buffer (zero at the start, so that the first step is g itself).
// Options: lr (required, > 0), momentum = 0.9 in [0, 1), weight_decay = 0.
// Errors: kInvalidArgument, an option out of range.
// Source: torch.optim.SGD of PyTorch 1.13 without dampening. Unlike Polyak 1964, lr scales the whole buffer,
// so a schedule takes effect at once.
#include "common/status.h"
#include "server/optimizer.h"
#include "server/optimizers/step_options.h"

namespace tessera {
namespace {

class Momentum : public Optimizer {
 public:
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(Options options) {
    TESSERA_ASSIGN_OR_RETURN(const StepOptions step, ReadStepOptions(options));
    TESSERA_ASSIGN_OR_RETURN(const double momentum, ReadDecayRate(options, "momentum", 0.9));
    TESSERA_RETURN_IF_ERROR(options.Finish("optimizer `momentum`"));
    return std::make_unique<Momentum>(step, static_cast<float>(momentum));
  }

  Momentum(const StepOptions& step, float momentum) : step_(step), momentum_(momentum) {}

  double base_learning_rate() const override { return step_.lr; }

  double weight_decay() const override { return step_.weight_decay; }

  std::vector<OptimizerSlot> slots() const override { return {{"momentum_buffer"}}; }

  void Apply(const UpdateContext& context, absl::Span<const float> weights, absl::Span<const float> gradient,
             absl::Span<const absl::Span<float>> slots, absl::Span<float> new_weights) const override {
    const float lr = static_cast<float>(context.learning_rate);
    const float weight_decay = static_cast<float>(step_.weight_decay);
    const float momentum = momentum_;
    const float* __restrict w = weights.data();
    const float* __restrict g = gradient.data();
    float* __restrict buffer = slots[0].data();
    float* __restrict out = new_weights.data();
    const size_t length = new_weights.size();
    for (size_t i = 0; i < length; ++i) {
      const float velocity = momentum * buffer[i] + (g[i] + weight_decay * w[i]);
      buffer[i] = velocity;
      out[i] = w[i] - lr * velocity;
    }
  }

 private:
  const StepOptions step_;
  const float momentum_;
};

const OptimizerRegistry::Entry kEntry("momentum", &Momentum::Create);

}  // namespace
}  // namespace tessera
