#include "worker/nn/layers/avg_pool.h"

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Forward = dnnl::pooling_forward;
using Backward = dnnl::pooling_backward;

class AvgPoolOp final : public LayerOp<nn::AvgPool> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor source = planner.Input(0);
    const Forward::desc operation(planner.forward_kind(), Algorithm(), source.layout(),
                                  AnyLayout(planner.OutputDims()), Strides(), Kernel(), Padding(), Padding());
    forward_ = {operation, Planner::Attributes(), planner.engine()};
    planner.Emit(forward_, {{DNNL_ARG_SRC, source}, {DNNL_ARG_DST, planner.NewOutput(forward_.dst_desc())}});
  }

  void PlanBackward(Planner& planner) override {
    const Backward::desc operation(Algorithm(), forward_.src_desc(), forward_.dst_desc(), Strides(), Kernel(),
                                   Padding(), Padding());
    const Backward::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(), forward_);
    const Tensor gradient = planner.NewInputGradient(0, descriptor.diff_src_desc());
    planner.Emit(descriptor, {{DNNL_ARG_DIFF_DST, planner.OutputGradient()}, {DNNL_ARG_DIFF_SRC, gradient}});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  dnnl::algorithm Algorithm() const {
    return layer().count_include_pad ? dnnl::algorithm::pooling_avg_include_padding
                                     : dnnl::algorithm::pooling_avg_exclude_padding;
  }
  Dims Kernel() const { return {layer().kernel, layer().kernel}; }
  Dims Strides() const { return {layer().stride, layer().stride}; }
  Dims Padding() const { return {layer().padding, layer().padding}; }

  Forward::primitive_desc forward_;
};

const RegisterOp<AvgPoolOp> kEntry("avg_pool");

}  // namespace
}  // namespace tessera::cpu
