#include "worker/nn/layers/add.h"

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

// Sums in the layout of the first input, and takes over a relu behind it (the end of a residual block).
class AddOp final : public LayerOp<nn::Add> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const bool relu = planner.FuseRelu(ReluFusion::kForward);
    const size_t count = planner.node().inputs.size();
    Tensor sum = planner.Input(0);
    const Tensor output = planner.NewOutput(sum.layout());
    for (size_t i = 1; i < count; ++i) {
      EmitSum(planner, sum, planner.InputAs(i, sum.layout()), output, relu && i + 1 == count);
      sum = output;
    }
  }

  void PlanBackward(Planner& planner) override {
    for (size_t i = 0; i < planner.node().inputs.size(); ++i) {
      planner.PassInputGradient(i, planner.OutputGradient());
    }
  }

 private:
  static void EmitSum(Planner& planner, const Tensor& a, const Tensor& b, const Tensor& sum, bool relu) {
    const dnnl::binary::desc operation(dnnl::algorithm::binary_add, a.layout(), b.layout(), sum.layout());
    const dnnl::binary::primitive_desc descriptor(operation, Planner::Attributes(relu), planner.engine());
    planner.Emit(descriptor, {{DNNL_ARG_SRC_0, a}, {DNNL_ARG_SRC_1, b}, {DNNL_ARG_DST, sum}});
  }
};

const RegisterOp<AddOp> kEntry("add");

}  // namespace
}  // namespace tessera::cpu
