#include "worker/nn/layers/linear.h"

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Forward = dnnl::inner_product_forward;
using BackwardData = dnnl::inner_product_backward_data;
using BackwardWeights = dnnl::inner_product_backward_weights;

// Matrices of weights are large for what a minibatch computes with them: a reorder to another layout, and of
// the gradient back, costs more than it saves. So everything stays row-major and oneDNN multiplies in place.
class LinearOp final : public LayerOp<nn::Linear> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Forward::desc operation(planner.forward_kind(), RowMajor(planner.InputDims(0)),
                                  WeightLayout(planner), BiasLayout(), RowMajor(planner.OutputDims()));
    const bool relu = planner.FuseRelu(ReluFusion::kForward);
    forward_ = {operation, Planner::Attributes(relu), planner.engine()};
    source_ = planner.InputAs(0, forward_.src_desc());
    weights_ = planner.Weights(0, WeightLayout(planner));
    Planner::Arguments arguments = {{DNNL_ARG_SRC, source_},
                                    {DNNL_ARG_WEIGHTS, weights_},
                                    {DNNL_ARG_DST, planner.NewOutput(forward_.dst_desc())}};
    if (layer().bias) arguments.emplace_back(DNNL_ARG_BIAS, planner.Weights(1, BiasLayout()));
    planner.Emit(forward_, std::move(arguments));
  }

  void PlanBackward(Planner& planner) override {
    PlanWeightGradient(planner);
    planner.WeightGradientDone();
    if (planner.NeedsInputGradient(0)) PlanInputGradient(planner);
  }

 private:
  void PlanWeightGradient(Planner& planner) {
    const BackwardWeights::desc operation(forward_.src_desc(), WeightLayout(planner), BiasLayout(),
                                          forward_.dst_desc());
    const BackwardWeights::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(),
                                                     forward_);
    Planner::Arguments arguments = {
        {DNNL_ARG_SRC, source_},
        {DNNL_ARG_DIFF_DST, planner.OutputGradient()},
        {DNNL_ARG_DIFF_WEIGHTS, planner.WeightGradient(0, WeightLayout(planner))}};
    if (layer().bias) arguments.emplace_back(DNNL_ARG_DIFF_BIAS, planner.WeightGradient(1, BiasLayout()));
    planner.Emit(descriptor, std::move(arguments));
  }

  void PlanInputGradient(Planner& planner) {
    const BackwardData::desc operation(forward_.src_desc(), WeightLayout(planner), forward_.dst_desc());
    const BackwardData::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(),
                                                  forward_);
    const Tensor gradient = planner.NewInputGradient(0, descriptor.diff_src_desc());
    planner.Emit(descriptor, {{DNNL_ARG_DIFF_DST, planner.OutputGradient()},
                              {DNNL_ARG_WEIGHTS, weights_},
                              {DNNL_ARG_DIFF_SRC, gradient}});
    planner.DeliverInputGradient(0, gradient);
  }

  Layout WeightLayout(const Planner& planner) const {
    return RowMajor({layer().out_features, planner.InputDims(0)[1]});
  }
  // Without a bias: the empty layout, by which oneDNN knows.
  Layout BiasLayout() const { return layer().bias ? RowMajor({layer().out_features}) : Layout(); }

  Forward::primitive_desc forward_;
  Tensor source_, weights_;
};

const RegisterOp<LinearOp> kEntry("linear");

}  // namespace
}  // namespace tessera::cpu
