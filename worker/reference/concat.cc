#include "worker/nn/layers/concat.h"

#include <algorithm>

#include "worker/reference/op.h"

namespace tessera::reference {
namespace {

template <typename T>
class ConcatOp final : public LayerOp<T, nn::Concat> {
 public:
  using LayerOp<T, nn::Concat>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    ForEachPart(a.batch, [&](size_t i, int64_t in_input, int64_t in_output, int64_t length) {
      const absl::Span<const T> part = a.inputs[i].subspan(in_input, length);
      std::copy(part.begin(), part.end(), a.output.begin() + in_output);
    });
  }

  void Backward(const BackwardArguments<T>& a) const override {
    ForEachPart(a.batch, [&](size_t i, int64_t in_input, int64_t in_output, int64_t length) {
      if (a.input_gradients[i].empty()) return;
      const absl::Span<const T> part = a.output_gradient.subspan(in_output, length);
      std::copy(part.begin(), part.end(), a.input_gradients[i].begin() + in_input);
    });
  }

 private:
  // A sample of an input is one piece of the sample of the output. Calls visit(input, where the sample begins
  // in it, where in the output, length).
  template <typename Visit>
  void ForEachPart(int64_t batch, const Visit& visit) const {
    int64_t in_output = 0;
    for (int64_t n = 0; n < batch; ++n) {
      for (size_t i = 0; i < this->num_inputs(); ++i) {
        const int64_t length = NumElements(this->input(i));
        visit(i, n * length, in_output, length);
        in_output += length;
      }
    }
  }
};

const RegisterOp<ConcatOp> kEntry("concat");

}  // namespace
}  // namespace tessera::reference
