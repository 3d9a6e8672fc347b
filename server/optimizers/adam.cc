// adam: per-element step sizes from running means of the gradient and its square, with L2 weight decay.
//   g += weight_decay * w;  m = beta1 * m + (1-beta1) * g;  v = beta2 * v + (1-beta2) * g * g
//   w -= lr / (1-beta1^t) * m / (sqrt(v) / sqrt(1-beta2^t) + eps)
// g: mean gradient of the round; t: 1-based update count of this shard. All numbers float32; the options and
// bias corrections are computed in double (ExactPower) and then rounded.
// State: exp_avg (m), exp_avg_sq (v), zero at the start.
// Options: lr (required, > 0), beta1 = 0.9 and beta2 = 0.999 in [0, 1), eps = 1e-8, weight_decay = 0.
// Errors: kInvalidArgument, an option out of range.
// Source: torch.optim.Adam of PyTorch 1.13; Kingma & Ba 2015, algorithm 1.
#include <cmath>

#include "common/status.h"
#include "server/optimizer.h"
#include "server/optimizers/adam_options.h"

namespace tessera {
namespace {

class Adam : public Optimizer {
 public:
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(Options options) {
    TESSERA_ASSIGN_OR_RETURN(const AdamOptions read, ReadAdamOptions(options, /*default_weight_decay=*/0));
    TESSERA_RETURN_IF_ERROR(options.Finish("optimizer `adam`"));
    return std::make_unique<Adam>(read);
  }

  explicit Adam(const AdamOptions& options) : options_(options) {}

  double base_learning_rate() const override { return options_.step.lr; }

  double weight_decay() const override { return options_.step.weight_decay; }

  std::vector<OptimizerSlot> slots() const override { return {{"exp_avg"}, {"exp_avg_sq"}}; }

  void Apply(const UpdateContext& context, absl::Span<const float> weights, absl::Span<const float> gradient,
             absl::Span<const absl::Span<float>> slots, absl::Span<float> new_weights) const override {
    const AdamNumbers at(options_, context);
    const float weight_decay = static_cast<float>(options_.step.weight_decay);
    const float beta1 = at.beta1, rest1 = at.rest1, beta2 = at.beta2, rest2 = at.rest2;
    const float step_size = at.step_size, root_of_bias = at.root_of_bias, eps = at.eps;
    const float* __restrict w = weights.data();
    const float* __restrict g = gradient.data();
    float* __restrict m = slots[0].data();
    float* __restrict v = slots[1].data();
    float* __restrict out = new_weights.data();
    const size_t length = new_weights.size();
    for (size_t i = 0; i < length; ++i) {
      const float decayed = g[i] + weight_decay * w[i];
      const float mean = beta1 * m[i] + rest1 * decayed;
      const float square = beta2 * v[i] + rest2 * decayed * decayed;
      m[i] = mean;
      v[i] = square;
      out[i] = w[i] - step_size * mean / (std::sqrt(square) / root_of_bias + eps);
    }
  }

 private:
  const AdamOptions options_;
};

const OptimizerRegistry::Entry kEntry("adam", &Adam::Create);

}  // namespace
}  // namespace tessera
