#include "worker/nn/layers/relu.h"

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Forward = dnnl::eltwise_forward;
using Backward = dnnl::eltwise_backward;

// Of relu's input backward needs only the sign, which the output has too.
constexpr auto kRelu = dnnl::algorithm::eltwise_relu_use_dst_for_bwd;

class ReluOp final : public LayerOp<nn::Relu> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor source = planner.Input(0);
    const Forward::desc operation(planner.forward_kind(), kRelu, source.layout(), 0.0f, 0.0f);
    forward_ = {operation, Planner::Attributes(), planner.engine()};
    if (planner.fused_relu() != ReluFusion::kNone) return planner.SetOutput(source);
    planner.Emit(forward_, {{DNNL_ARG_SRC, source}, {DNNL_ARG_DST, planner.NewOutput(forward_.dst_desc())}});
  }

  void PlanBackward(Planner& planner) override {
    if (planner.fused_relu() == ReluFusion::kBoth) {
      return planner.PassInputGradient(0, planner.OutputGradient());
    }
    const Layout layout = planner.Output().layout();
    const Backward::desc operation(kRelu, layout, layout, 0.0f, 0.0f);
    const Backward::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(), forward_);
    const Tensor gradient = planner.NewInputGradient(0, descriptor.diff_src_desc());
    planner.Emit(descriptor, {{DNNL_ARG_DST, planner.Output()},
                              {DNNL_ARG_DIFF_DST, planner.OutputGradient()},
                              {DNNL_ARG_DIFF_SRC, gradient}});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  Forward::primitive_desc forward_;
};

const RegisterOp<ReluOp> kEntry("relu");

}  // namespace
}  // namespace tessera::cpu
