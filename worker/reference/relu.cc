#include "worker/nn/layers/relu.h"

#include "worker/reference/op.h"

namespace tessera::reference {
namespace {

template <typename T>
class ReluOp final : public LayerOp<T, nn::Relu> {
 public:
  using LayerOp<T, nn::Relu>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const absl::Span<const T> x = a.inputs[0];
    // Not x > 0 ? x : 0, which would hide a NaN.
    for (size_t k = 0; k < x.size(); ++k) a.output[k] = x[k] <= 0 ? T{0} : x[k];
  }

  void Backward(const BackwardArguments<T>& a) const override {
    const absl::Span<const T> x = a.inputs[0];
    const absl::Span<T> dx = a.input_gradients[0];
    for (size_t k = 0; k < dx.size(); ++k) dx[k] = x[k] <= 0 ? T{0} : a.output_gradient[k];
  }
};

const RegisterOp<ReluOp> kEntry("relu");

}  // namespace
}  // namespace tessera::reference
