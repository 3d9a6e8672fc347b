#include "worker/nn/layers/shortcut_a.h"

#include <cstring>
#include <vector>

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
        [from = source.memory, to = output.memory,
         copy = MakeCopy(planner, source.layout(), output.layout())](Run&) {
          Clear(to);
          copy.Forward(from, to);
        },
        {source, output});
  }

  void PlanBackward(Planner& planner) override {
    const Tensor output_gradient = planner.OutputGradient();
    const Tensor gradient = planner.NewInputGradient(0, SourceLayout(planner));
    planner.Emit(
        [from = output_gradient.memory, to = gradient.memory,
         copy = MakeCopy(planner, gradient.layout(), output_gradient.layout())](Run&) {
          Clear(to);
          copy.Backward(from, to);
        },
        {output_gradient, gradient});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  // Channel c of every stride-th pixel of x <-> channel `before` + c of y.
  class Copy {
   public:
    Copy(const Layout& x, const Layout& y, int64_t before, int64_t stride)
        : x_(x), y_(y), y_dims_(y.dims()), stride_(stride), stretches_(Stretches(x, y, before)) {}

    void Forward(const dnnl::memory& x, const dnnl::memory& y) const {
      Visit(x, y, [](float& from_x, float& from_y) { from_y = from_x; });
    }
    void Backward(const dnnl::memory& dy, const dnnl::memory& dx) const {
      Visit(dx, dy, [](float& from_x, float& from_y) { from_x = from_y; });
    }

   private:
    // Channels of a pixel that lie side by side in both.
    struct Stretch {
      int64_t x, y, length;
    };

    static std::vector<Stretch> Stretches(const Layout& x, const Layout& y, int64_t before) {
      const ImageIndex from(x), to(y);
      std::vector<Stretch> stretches;
      for (int64_t c = 0; c < x.dims()[1]; ++c) {
        const int64_t at_x = from.Channel(c), at_y = to.Channel(before + c);
        const bool goes_on = !stretches.empty() && stretches.back().x + stretches.back().length == at_x &&
                             stretches.back().y + stretches.back().length == at_y;
        if (goes_on) {
          ++stretches.back().length;
        } else {
          stretches.push_back({at_x, at_y, 1});
        }
      }
      return stretches;
    }

    template <typename Assign>
    void Visit(const dnnl::memory& x, const dnnl::memory& y, const Assign& assign) const {
      auto* x_data = static_cast<float*>(x.get_data_handle());
      auto* y_data = static_cast<float*>(y.get_data_handle());
      ParallelFor(y_dims_[0], [&](int64_t n) {
        for (int64_t i = 0; i < y_dims_[2]; ++i) {
          for (int64_t j = 0; j < y_dims_[3]; ++j) {
            VisitPixel(x_data + x_.Pixel(n, i * stride_, j * stride_), y_data + y_.Pixel(n, i, j), assign);
          }
        }
      });
    }

    template <typename Assign>
    void VisitPixel(float* x, float* y, const Assign& assign) const {
      for (const Stretch& stretch : stretches_) {
        for (int64_t k = 0; k < stretch.length; ++k) assign(x[stretch.x + k], y[stretch.y + k]);
      }
    }

    ImageIndex x_, y_;
    Dims y_dims_;  // [N,out_channels,H',W']
    int64_t stride_;
    std::vector<Stretch> stretches_;
  };

  Copy MakeCopy(const Planner& planner, const Layout& x, const Layout& y) const {
    return {x, y, layer().ChannelsBefore(planner.InputDims(0)[1]), layer().stride};
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
