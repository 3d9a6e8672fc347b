#include "worker/nn/layers/adaptive_avg_pool.h"

#include <cstring>
#include <vector>

#include "worker/cpu/op.h"
#include "worker/cpu/parallel_for.h"

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
                  windows = Windows(planner, source, output)](Run&) { windows.Forward(x, y); },
                 {source, output});
  }

  void PlanBackward(Planner& planner) override {
    const Tensor output_gradient = planner.OutputGradient();
    if (KeepsSize(planner)) return planner.PassInputGradient(0, output_gradient);
    const Tensor gradient = planner.NewInputGradient(0, SourceLayout(planner));
    planner.Emit([dy = output_gradient.memory, dx = gradient.memory,
                  windows = Windows(planner, gradient, output_gradient)](Run&) { windows.Backward(dy, dx); },
                 {output_gradient, gradient});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  class Windows {
   public:
    // Of `x`, laid out as the input, and `y`, as the output.
    Windows(const Planner& planner, const Tensor& x, const Tensor& y)
        : input_(planner.InputDims(0)),
          output_(planner.OutputDims()),
          in_(x.layout()),
          out_(y.layout()),
          in_channels_(in_.Channels(output_[1])),
          out_channels_(out_.Channels(output_[1])) {}

    void Forward(const dnnl::memory& x, const dnnl::memory& y) const {
      Visit(x, y, y, [](const float& from_x, float& to_y, float share) { to_y += share * from_x; });
    }
    void Backward(const dnnl::memory& dy, const dnnl::memory& dx) const {
      Visit(dx, dy, dx, [](float& to_x, const float& from_y, float share) { to_x += share * from_y; });
    }

   private:
    // Clears `sum`, which is `x` or `y`, and calls add(element of x, element of y, 1 / area of the window)
    // for every element of y and every element of its window.
    template <typename Add>
    void Visit(const dnnl::memory& x, const dnnl::memory& y, const dnnl::memory& sum, const Add& add) const {
      std::memset(sum.get_data_handle(), 0, sum.get_desc().get_size());
      auto* x_data = static_cast<float*>(x.get_data_handle());
      auto* y_data = static_cast<float*>(y.get_data_handle());
      ParallelFor(output_[0], [&](int64_t n) {
        ForEachWindow([&](int64_t i, int64_t j, int64_t h, int64_t w, float share) {
          float* x_pixel = x_data + in_.Pixel(n, h, w);
          float* y_pixel = y_data + out_.Pixel(n, i, j);
          for (size_t c = 0; c < in_channels_.size(); ++c) {
            add(x_pixel[in_channels_[c]], y_pixel[out_channels_[c]], share);
          }
        });
      });
    }

    // Calls visit(i, j, h, w, 1 / area) for every pixel (h,w) of the window of every output (i,j).
    template <typename VisitPixel>
    void ForEachWindow(const VisitPixel& visit) const {
      for (int64_t i = 0; i < output_[2]; ++i) {
        const int64_t top = Layer::WindowBegin(i, input_[2], output_[2]);
        const int64_t bottom = Layer::WindowEnd(i, input_[2], output_[2]);
        for (int64_t j = 0; j < output_[3]; ++j) {
          const int64_t left = Layer::WindowBegin(j, input_[3], output_[3]);
          const int64_t right = Layer::WindowEnd(j, input_[3], output_[3]);
          const float share = 1.0f / static_cast<float>((bottom - top) * (right - left));
          for (int64_t h = top; h < bottom; ++h) {
            for (int64_t w = left; w < right; ++w) visit(i, j, h, w, share);
          }
        }
      }
    }

    const Dims input_, output_;  // [N,C,H,W], [N,C,H',W']
    const ImageIndex in_, out_;
    const std::vector<int64_t> in_channels_, out_channels_;
  };

  static bool KeepsSize(const Planner& planner) { return planner.InputDims(0) == planner.OutputDims(); }
  static Layout SourceLayout(const Planner& planner) {
    return LayoutLike(planner.Input(0).layout(), planner.InputDims(0));
  }
};

const RegisterOp<AdaptiveAvgPoolOp> kEntry("adaptive_avg_pool");

}  // namespace
}  // namespace tessera::cpu
