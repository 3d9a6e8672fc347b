#include "worker/nn/layers/dropout.h"

#include <algorithm>

#include "worker/nn/dropout_mask.h"
#include "worker/reference/op.h"

namespace tessera::reference {
namespace {

template <typename T>
class DropoutOp final : public LayerOp<T, nn::Dropout> {
 public:
  using LayerOp<T, nn::Dropout>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    if (a.training) return Mask(a.key, a.inputs[0], a.output);
    std::copy(a.inputs[0].begin(), a.inputs[0].end(), a.output.begin());
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (!a.input_gradients[0].empty()) Mask(a.key, a.output_gradient, a.input_gradients[0]);
  }

 private:
  // By a product with 0, which does not hide a NaN.
  void Mask(const nn::StepKey& key, absl::Span<const T> from, absl::Span<T> to) const {
    const nn::DropoutMask mask(key, this->name(), this->layer().p);
    for (size_t k = 0; k < from.size(); ++k) {
      to[k] = static_cast<T>(from[k] * (mask.Keeps(k) ? this->layer().scale() : 0.0));
    }
  }
};

const RegisterOp<DropoutOp> kEntry("dropout");

}  // namespace
}  // namespace tessera::reference
