#include "worker/nn/layers/global_avg_pool.h"

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Forward = dnnl::pooling_forward;
using Backward = dnnl::pooling_backward;

constexpr auto kAverage = dnnl::algorithm::pooling_avg_exclude_padding;

// One window as large as the image.
class GlobalAvgPoolOp final : public LayerOp<nn::GlobalAvgPool> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor source = planner.Input(0);
    const Forward::desc operation(planner.forward_kind(), kAverage, source.layout(),
                                  AnyLayout(PixelDims(planner)), Strides(), Window(planner), Padding(),
                                  Padding());
    forward_ = {operation, Planner::Attributes(), planner.engine()};
    const Tensor means = planner.NewTensor(forward_.dst_desc());
    planner.Emit(forward_, {{DNNL_ARG_SRC, source}, {DNNL_ARG_DST, means}});
    const Tensor plain = planner.InLayout(means, RowMajor(PixelDims(planner)));
    planner.SetOutput(planner.View(plain, RowMajor(planner.OutputDims())));
  }

  void PlanBackward(Planner& planner) override {
    const Backward::desc operation(kAverage, forward_.src_desc(), forward_.dst_desc(), Strides(),
                                   Window(planner), Padding(), Padding());
    const Backward::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(), forward_);
    const Tensor pixels = planner.View(planner.OutputGradient(), RowMajor(PixelDims(planner)));
    const Tensor gradient = planner.NewInputGradient(0, descriptor.diff_src_desc());
    planner.Emit(descriptor, {{DNNL_ARG_DIFF_DST, planner.InLayout(pixels, descriptor.diff_dst_desc())},
                              {DNNL_ARG_DIFF_SRC, gradient}});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  // [N,C,1,1]
  static Dims PixelDims(const Planner& planner) {
    const Dims input = planner.InputDims(0);
    return {input[0], input[1], 1, 1};
  }
  static Dims Window(const Planner& planner) {
    const Dims input = planner.InputDims(0);
    return {input[2], input[3]};
  }
  static Dims Strides() { return {1, 1}; }
  static Dims Padding() { return {0, 0}; }

  Forward::primitive_desc forward_;
};

const RegisterOp<GlobalAvgPoolOp> kEntry("global_avg_pool");

}  // namespace
}  // namespace tessera::cpu
