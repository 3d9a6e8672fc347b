#include "worker/nn/layers/shortcut_a.h"

#include <algorithm>

#include "worker/reference/op.h"
#include "worker/reference/tensor_view.h"

namespace tessera::reference {
namespace {

template <typename T>
class ShortcutAOp final : public LayerOp<T, nn::ShortcutA> {
 public:
  using LayerOp<T, nn::ShortcutA>::LayerOp;

  void Forward(const ForwardArguments<T>& a) const override {
    const Images<const T> x(a.inputs[0], this->input());
    const Images<T> y(a.output, this->output());
    std::fill(a.output.begin(), a.output.end(), T{0});
    ForEachCopied(a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      y(n, c + Before(), i, j) = x(n, c, i * Stride(), j * Stride());
    });
  }

  void Backward(const BackwardArguments<T>& a) const override {
    if (a.input_gradients[0].empty()) return;
    const Images<const T> dy(a.output_gradient, this->output());
    const Images<T> dx(a.input_gradients[0], this->input());
    std::fill(a.input_gradients[0].begin(), a.input_gradients[0].end(), T{0});
    ForEachCopied(a.batch, [&](int64_t n, int64_t c, int64_t i, int64_t j) {
      dx(n, c, i * Stride(), j * Stride()) = dy(n, c + Before(), i, j);
    });
  }

 private:
  int64_t Stride() const { return this->layer().stride; }
  int64_t Before() const { return this->layer().ChannelsBefore(this->input()[0]); }

  // Calls visit(n, input channel, output row, output column) for every element that is copied.
  template <typename Visit>
  void ForEachCopied(int64_t batch, const Visit& visit) const {
    for (int64_t n = 0; n < batch; ++n) {
      for (int64_t c = 0; c < this->input()[0]; ++c) {
        for (int64_t i = 0; i < this->output()[1]; ++i) {
          for (int64_t j = 0; j < this->output()[2]; ++j) visit(n, c, i, j);
        }
      }
    }
  }
};

const RegisterOp<ShortcutAOp> kEntry("shortcut_a");

}  // namespace
}  // namespace tessera::reference
