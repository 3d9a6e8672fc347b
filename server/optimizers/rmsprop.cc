// rmsprop: each element's step is divided by the running root mean square of its gradient.
//   g += weight_decay * w;  square_avg = alpha * square_avg + (1-alpha) * g * g
//   denom = sqrt(square_avg) + eps
//   centered: grad_avg = alpha * grad_avg + (1-alpha) * g;  denom = sqrt(square_avg - grad_avg^2) + eps
//   w -= lr * g / denom;  with momentum: buffer = momentum * buffer + g / denom;  w -= lr * buffer
// g: mean gradient of the round. All numbers float32; the options are rounded to float32 before they are used
// (1-alpha after the subtraction). State: square_avg; momentum_buffer where momentum > 0; grad_avg where
// centered; all zero at the start.
// Options: lr (required, > 0), alpha = 0.99 in [0, 1), eps = 1e-8, weight_decay = 0, momentum = 0 in [0, 1),
// centered = false. Errors: kInvalidArgument, an option out of range.
// Source: torch.optim.RMSprop of PyTorch 1.13; Hinton 2012, lecture 6e; Graves 2013 (centered). Where
// rounding makes the centered variance negative (a constant gradient) we take 0, and PyTorch NaN.
#include <cmath>

#include "common/status.h"
#include "server/optimizer.h"
#include "server/optimizers/step_options.h"

namespace tessera {
namespace {

struct RmspropOptions {
  StepOptions step;
  double alpha = 0;
  double eps = 0;
  double momentum = 0;
  bool centered = false;
};

class Rmsprop : public Optimizer {
 public:
  static absl::StatusOr<std::unique_ptr<Optimizer>> Create(Options options) {
    RmspropOptions read;
    TESSERA_ASSIGN_OR_RETURN(read.step, ReadStepOptions(options));
    TESSERA_ASSIGN_OR_RETURN(read.alpha, ReadDecayRate(options, "alpha", 0.99));
    TESSERA_ASSIGN_OR_RETURN(read.eps, ReadEps(options, 1e-8));
    TESSERA_ASSIGN_OR_RETURN(read.momentum, ReadDecayRate(options, "momentum", 0));
    TESSERA_ASSIGN_OR_RETURN(read.centered, options.Bool("centered", false));
    TESSERA_RETURN_IF_ERROR(options.Finish("optimizer `rmsprop`"));
    return std::make_unique<Rmsprop>(read);
  }

  explicit Rmsprop(const RmspropOptions& options) : options_(options) {}

  double base_learning_rate() const override { return options_.step.lr; }

  double weight_decay() const override { return options_.step.weight_decay; }

  std::vector<OptimizerSlot> slots() const override {
    std::vector<OptimizerSlot> slots = {{"square_avg"}};
    if (options_.momentum > 0) slots.push_back({"momentum_buffer"});
    if (options_.centered) slots.push_back({"grad_avg"});
    return slots;
  }

  void Apply(const UpdateContext& context, absl::Span<const float> weights, absl::Span<const float> gradient,
             absl::Span<const absl::Span<float>> slots, absl::Span<float> new_weights) const override {
    const Numbers at = NumbersFor(context);
    const size_t length = new_weights.size();
    const float* w = weights.data();
    const float* g = gradient.data();
    float* square_avg = slots[0].data();
    float* buffer = options_.momentum > 0 ? slots[1].data() : nullptr;
    float* grad_avg = options_.centered ? slots.back().data() : nullptr;
    float* out = new_weights.data();
    if (options_.momentum > 0) {
      options_.centered ? Update<true, true>(at, length, w, g, square_avg, buffer, grad_avg, out)
                        : Update<true, false>(at, length, w, g, square_avg, buffer, grad_avg, out);
    } else {
      options_.centered ? Update<false, true>(at, length, w, g, square_avg, buffer, grad_avg, out)
                        : Update<false, false>(at, length, w, g, square_avg, buffer, grad_avg, out);
    }
  }

 private:
  struct Numbers {
    float lr, weight_decay, alpha, rest, eps, momentum;  // rest: 1 - alpha
  };

  Numbers NumbersFor(const UpdateContext& context) const {
    return {static_cast<float>(context.learning_rate), static_cast<float>(options_.step.weight_decay),
            static_cast<float>(options_.alpha),        static_cast<float>(1 - options_.alpha),
            static_cast<float>(options_.eps),          static_cast<float>(options_.momentum)};
  }

  // Pointers are parameters, since compilers forget `__restrict` of so many local ones.
  template <bool kMomentum, bool kCentered>
  static void Update(Numbers at, size_t length, const float* __restrict w, const float* __restrict g,
                     float* __restrict square_avg, float* __restrict buffer, float* __restrict grad_avg,
                     float* __restrict out) {
    for (size_t i = 0; i < length; ++i) {
      const float decayed = g[i] + at.weight_decay * w[i];
      float variance = at.alpha * square_avg[i] + at.rest * decayed * decayed;
      square_avg[i] = variance;
      if constexpr (kCentered) {
        const float mean = at.alpha * grad_avg[i] + at.rest * decayed;
        grad_avg[i] = mean;
        variance -= mean * mean;
        variance = variance < 0 ? 0 : variance;
      }
      const float denom = std::sqrt(variance) + at.eps;
      if constexpr (kMomentum) {
        const float velocity = at.momentum * buffer[i] + decayed / denom;
        buffer[i] = velocity;
        out[i] = w[i] - at.lr * velocity;
      } else {
        out[i] = w[i] - at.lr * decayed / denom;
      }
    }
  }

  const RmspropOptions options_;
};

const OptimizerRegistry::Entry kEntry("rmsprop", &Rmsprop::Create);

}  // namespace
}  // namespace tessera
