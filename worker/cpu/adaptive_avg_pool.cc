#include "worker/nn/layers/adaptive_avg_pool.h"

#include <cstring>
#include <vector>

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Layer = nn::AdaptiveAvgPool;

// Windows of several sizes that overlap, which no primitive has. An image of the asked size passes through:
// that is what the networks which end in this layer are mostly given.
class AdaptiveAvgPoolOp final : public LayerOp<nn::AdaptiveAvgPool> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    if (KeepsSize(planner)) return planner.SetOutput(planner.Input(0));
    const Tensor source = planner.InputAs(0, SourceLayout(planner));
    const Tensor output = planner.NewOutput(LayoutLike(source.layout(), planner.OutputDims()));
    planner.Emit([x = source.memory, y = output.memory,
                  windows = MakeWindows(planner)](Run&) { windows.Forward(x, y); },
                 {source, output});
  }

  void PlanBackward(Planner& planner) override {
    const Tensor output_gradient = planner.OutputGradient();
    if (KeepsSize(planner)) return planner.PassInputGradient(0, output_gradient);
    const Tensor gradient = planner.NewInputGradient(0, SourceLayout(planner));
    planner.Emit([dy = output_gradient.memory, dx = gradient.memory,
                  windows = MakeWindows(planner)](Run&) { windows.Backward(dy, dx); },
                 {output_gradient, gradient});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  struct Windows {
    Dims input, output;  // [N,C,H,W], [N,C,H',W']

    void Forward(const dnnl::memory& x, const dnnl::memory& y) const {
      Visit(x, y, y, [](const float& from_x, float& to_y, float share) { to_y += share * from_x; });
    }
    void Backward(const dnnl::memory& dy, const dnnl::memory& dx) const {
      Visit(dx, dy, dx, [](float& to_x, const float& from_y, float share) { to_x += share * from_y; });
    }

    // Clears `sum`, which is `x` or `y`, and calls add(element of x, element of y, 1 / area of the window)
    // for every element of y and every element of its window.
    template <typename Add>
    void Visit(const dnnl::memory& x, const dnnl::memory& y, const dnnl::memory& sum, const Add& add) const {
      std::memset(sum.get_data_handle(), 0, sum.get_desc().get_size());
      const ImageIndex in(x.get_desc()), out(y.get_desc());
      const std::vector<int64_t> in_channels = in.Channels(output[1]), out_channels = out.Channels(output[1]);
      auto* x_data = static_cast<float*>(x.get_data_handle());
      auto* y_data = static_cast<float*>(y.get_data_handle());
#pragma omp parallel for
      for (int64_t n = 0; n < output[0]; ++n) {
        ForEachWindow([&](int64_t i, int64_t j, int64_t h, int64_t w, float share) {
          float* x_pixel = x_data + in.Pixel(n, h, w);
          float* y_pixel = y_data + out.Pixel(n, i, j);
          for (size_t c = 0; c < in_channels.size(); ++c) {
            add(x_pixel[in_channels[c]], y_pixel[out_channels[c]], share);
          }
        });
      }
    }

    // Calls visit(i, j, h, w, 1 / area) for every pixel (h,w) of the window of every output (i,j).
    template <typename VisitPixel>
    void ForEachWindow(const VisitPixel& visit) const {
      for (int64_t i = 0; i < output[2]; ++i) {
        const int64_t top = Layer::WindowBegin(i, input[2], output[2]);
        const int64_t bottom = Layer::WindowEnd(i, input[2], output[2]);
        for (int64_t j = 0; j < output[3]; ++j) {
          const int64_t left = Layer::WindowBegin(j, input[3], output[3]);
          const int64_t right = Layer::WindowEnd(j, input[3], output[3]);
          const float share = 1.0f / static_cast<float>((bottom - top) * (right - left));
          for (int64_t h = top; h < bottom; ++h) {
            for (int64_t w = left; w < right; ++w) visit(i, j, h, w, share);
          }
        }
      }
    }
  };

  static Windows MakeWindows(const Planner& planner) { return {planner.InputDims(0), planner.OutputDims()}; }
  static bool KeepsSize(const Planner& planner) { return planner.InputDims(0) == planner.OutputDims(); }
  static Layout SourceLayout(const Planner& planner) {
    return LayoutLike(planner.Input(0).layout(), planner.InputDims(0));
  }
};

const RegisterOp<AdaptiveAvgPoolOp> kEntry("adaptive_avg_pool");

}  // namespace
}  // namespace tessera::cpu
