// adagrad: each element's step shrinks with the sum of its squared gradients.
//   g += weight_decay * w;  sum += g * g;  w -= lr' * g / (sqrt(sum) + eps),  lr' = lr / (1 + (t-1) lr_decay)
// g: mean gradient of the round; t: 1-based update count of this shard (in modes of smaller groups there are
// replicas / group updates in a step of all replicas, and lr_decay counts each). All numbers float32, but lr'
// is computed in double and then rounded.
// State: sum (initial_accumulator_value at the start).
// Options: lr (required, > 0), lr_decay = 0, weight_decay = 0, initial_accumulator_value = 0, eps = 1e-10.
// Errors: kInvalidArgument, an option out of range.
// Source: torch.optim.Adagrad of PyTorch 1.13; Duchi et al. 2011, with a diagonal matrix.
#include <cmath>

#include "common/status.h"
#include "server/optimizer.h"
#include "server/optimizers/step_options.h"

namespace tessera {
namespace {

// Far above what trains anything.
constexpr double kMax = 1e6;

struct AdagradOptions {
  StepOptions step;
  double lr_decay = 0;
  double initial_sum = 0;
  double eps = 0;
};

class Adagrad : public Optimizer {
 public:
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(Options options) {
    AdagradOptions read;
    TESSERA_ASSIGN_OR_RETURN(read.step, ReadStepOptions(options));
    TESSERA_ASSIGN_OR_RETURN(read.lr_decay, options.Number("lr_decay", 0, 0, kMax));
    TESSERA_ASSIGN_OR_RETURN(read.initial_sum, options.Number("initial_accumulator_value", 0, 0, kMax));
    TESSERA_ASSIGN_OR_RETURN(read.eps, ReadEps(options, 1e-10));
    TESSERA_RETURN_IF_ERROR(options.Finish("optimizer `adagrad`"));
    return std::make_unique<Adagrad>(read);
  }

  explicit Adagrad(const AdagradOptions& options) : options_(options) {}

  double base_learning_rate() const override { return options_.step.lr; }

  double weight_decay() const override { return options_.step.weight_decay; }

  std::vector<OptimizerSlot> slots() const override {
    return {{"sum", static_cast<float>(options_.initial_sum)}};
  }

  void Apply(const UpdateContext& context, absl::Span<const float> weights, absl::Span<const float> gradient,
             absl::Span<const absl::Span<float>> slots, absl::Span<float> new_weights) const override {
    const double decay = 1 + static_cast<double>(context.update - 1) * options_.lr_decay;
    const float lr = static_cast<float>(context.learning_rate / decay);
    const float weight_decay = static_cast<float>(options_.step.weight_decay);
    const float eps = static_cast<float>(options_.eps);
    const float* __restrict w = weights.data();
    const float* __restrict g = gradient.data();
    float* __restrict sum = slots[0].data();
    float* __restrict out = new_weights.data();
    const size_t length = new_weights.size();
    for (size_t i = 0; i < length; ++i) {
      const float decayed = g[i] + weight_decay * w[i];
      const float squares = sum[i] + decayed * decayed;
      sum[i] = squares;
      out[i] = w[i] - lr * decayed / (std::sqrt(squares) + eps);
    }
  }

 private:
  const AdagradOptions options_;
};

const OptimizerRegistry::Entry kEntry("adagrad", &Adagrad::Create);

}  // namespace
}  // namespace tessera
