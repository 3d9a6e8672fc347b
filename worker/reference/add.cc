#include "worker/nn/layers/add.h"

#include <algorithm>

#include "worker/reference/op.h"

namespace tessera::reference {
namespace {

template <typename T>
class AddOp final : public LayerOp<T, nn::Add> {
 public:
  using LayerOp<T, nn::Add>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    for (size_t k = 0; k < a.output.size(); ++k) {
      double sum = 0;
      for (const absl::Span<const T>& x : a.inputs) sum += x[k];
      a.output[k] = static_cast<T>(sum);
    }
  }

  void Backward(const BackwardArguments<T>& a) const override {
    for (const absl::Span<T>& dx : a.input_gradients) {
      if (!dx.empty()) std::copy(a.output_gradient.begin(), a.output_gradient.end(), dx.begin());
    }
  }
};

const RegisterOp<AddOp> kEntry("add");

}  // namespace
}  // namespace tessera::reference
