#include "worker/nn/layers/flatten.h"

#include <algorithm>

#include "worker/reference/op.h"

namespace tessera::reference {
namespace {

template <typename T>
class FlattenOp final : public LayerOp<T, nn::Flatten> {
 public:
  using LayerOp<T, nn::Flatten>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    std::copy(a.inputs[0].begin(), a.inputs[0].end(), a.output.begin());
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    std::copy(a.output_gradient.begin(), a.output_gradient.end(), a.input_gradients[0].begin());
  }
};

const RegisterOp<FlattenOp> kEntry("flatten");

}  // namespace
}  // namespace tessera::reference
