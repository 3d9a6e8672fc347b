#include "worker/nn/layers/max_pool.h"

#include <algorithm>

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Forward = dnnl::pooling_forward;
using Backward = dnnl::pooling_backward;

constexpr auto kMax = dnnl::algorithm::pooling_max;

class MaxPoolOp final : public LayerOp<nn::MaxPool> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor source = planner.Input(0);
    const Forward::desc operation(planner.forward_kind(), kMax, source.layout(),
                                  AnyLayout(planner.OutputDims()), Strides(), Kernel(), Padding(),
                                  EndPadding(planner));
    forward_ = {operation, Planner::Attributes(), planner.engine()};
    Planner::Arguments arguments = {{DNNL_ARG_SRC, source},
                                    {DNNL_ARG_DST, planner.NewOutput(forward_.dst_desc())}};
    if (planner.training()) {
      positions_ = planner.NewTensor(forward_.workspace_desc());
      arguments.emplace_back(DNNL_ARG_WORKSPACE, positions_);
    }
    planner.Emit(forward_, std::move(arguments));
  }

  void PlanBackward(Planner& planner) override {
    const Backward::desc operation(kMax, forward_.src_desc(), forward_.dst_desc(), Strides(), Kernel(),
                                   Padding(), EndPadding(planner));
    const Backward::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(), forward_);
    const Tensor gradient = planner.NewInputGradient(0, descriptor.diff_src_desc());
    planner.Emit(descriptor, {{DNNL_ARG_DIFF_DST, planner.OutputGradient()},
                              {DNNL_ARG_WORKSPACE, positions_},
                              {DNNL_ARG_DIFF_SRC, gradient}});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  Dims Kernel() const { return {layer().kernel, layer().kernel}; }
  Dims Strides() const { return {layer().stride, layer().stride}; }
  Dims Padding() const { return {layer().padding, layer().padding}; }

  // In ceil mode the last window may reach further than the padding.
  Dims EndPadding(const Planner& planner) const {
    const Dims input = planner.InputDims(0), output = planner.OutputDims();
    const auto needed = [&](int d) {
      return (output[d] - 1) * layer().stride + layer().kernel - input[d] - layer().padding;
    };
    return {std::max(layer().padding, needed(2)), std::max(layer().padding, needed(3))};
  }

  Forward::primitive_desc forward_;
  Tensor positions_;  // of the maxima
};

const RegisterOp<MaxPoolOp> kEntry("max_pool");

}  // namespace
}  // namespace tessera::cpu
