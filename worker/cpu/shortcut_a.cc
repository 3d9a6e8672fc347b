#include "worker/nn/layers/shortcut_a.h"

#include <cstring>

#include "worker/cpu/op.h"
#include "worker/cpu/parallel_for.h"

namespace tessera::cpu {
namespace {

// A copy that no primitive makes, since the first of the new channels seldom begins a block.
class ShortcutAOp final : public LayerOp<nn::ShortcutA> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor source = planner.InputAs(0, SourceLayout(planner));
    const Tensor output = planner.NewOutput(LayoutLike(source.layout(), planner.OutputDims()));
    planner.Emit(
        [from = source.memory, to = output.memory, copy = MakeCopy(planner)](Run&) {
          Clear(to);
          copy.Forward(from, to);
        },
        {source, output});
  }

  void PlanBackward(Planner& planner) override {
    const Tensor output_gradient = planner.OutputGradient();
    const Tensor gradient = planner.NewInputGradient(0, SourceLayout(planner));
    planner.Emit(
        [from = output_gradient.memory, to = gradient.memory, copy = MakeCopy(planner)](Run&) {
          Clear(to);
          copy.Backward(from, to);
        },
        {output_gradient, gradient});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  // Channel c of every stride-th pixel <-> channel `before` + c.
  struct Copy {
    Dims output;  // [N,out_channels,H',W']
    int64_t channels, before, stride;

    void Forward(const dnnl::memory& x, const dnnl::memory& y) const {
      Visit(x, y, [](float& from_x, float& from_y) { from_y = from_x; });
    }
    void Backward(const dnnl::memory& dy, const dnnl::memory& dx) const {
      Visit(dx, dy, [](float& from_x, float& from_y) { from_x = from_y; });
    }

    template <typename Assign>
    void Visit(const dnnl::memory& x, const dnnl::memory& y, const Assign& assign) const {
      const ImageIndex in(x.get_desc()), out(y.get_desc());
      auto* x_data = static_cast<float*>(x.get_data_handle());
      auto* y_data = static_cast<float*>(y.get_data_handle());
      ParallelFor(output[0], [&](int64_t n) {
        for (int64_t i = 0; i < output[2]; ++i) {
          for (int64_t j = 0; j < output[3]; ++j) {
            float* x_pixel = x_data + in.Pixel(n, i * stride, j * stride);
            float* y_pixel = y_data + out.Pixel(n, i, j);
            for (int64_t c = 0; c < channels; ++c) {
              assign(x_pixel[in.Channel(c)], y_pixel[out.Channel(before + c)]);
            }
          }
        }
      });
    }
  };

  Copy MakeCopy(const Planner& planner) const {
    const int64_t channels = planner.InputDims(0)[1];
    return {planner.OutputDims(), channels, layer().ChannelsBefore(channels), layer().stride};
  }

  static Layout SourceLayout(const Planner& planner) {
    return LayoutLike(planner.Input(0).layout(), planner.InputDims(0));
  }

  static void Clear(const dnnl::memory& memory) {
    std::memset(memory.get_data_handle(), 0, memory.get_desc().get_size());
  }
};

const RegisterOp<ShortcutAOp> kEntry("shortcut_a");

}  // namespace
}  // namespace tessera::cpu
