#include "worker/nn/layers/concat.h"

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

// Each input is a reorder into its channels of the output, and its gradient a reorder out of them.
class ConcatOp final : public LayerOp<nn::Concat> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor output = planner.NewOutput(OutputLayout(planner));
    ForEachPart(planner, output,
                [&](size_t i, const Tensor& part) { planner.Reorder(planner.Input(i), part); });
  }

  void PlanBackward(Planner& planner) override {
    ForEachPart(planner, planner.OutputGradient(),
                [&](size_t i, const Tensor& part) { planner.DeliverInputGradient(i, part); });
  }

 private:
  // That of the first input, as long as every input fills whole blocks of channels.
  static Layout OutputLayout(const Planner& planner) {
    if (planner.OutputDims().size() != 4) return RowMajor(planner.OutputDims());
    const Layout like = LayoutLike(planner.Input(0).layout(), planner.OutputDims());
    for (size_t i = 0; i < planner.node().inputs.size(); ++i) {
      if (planner.InputDims(i)[1] % ChannelBlock(like) != 0) return ChannelsLast(planner.OutputDims());
    }
    return like;
  }

  // Calls visit(i, the part of `whole` that is input i's) for every input.
  template <typename Visit>
  static void ForEachPart(Planner& planner, const Tensor& whole, const Visit& visit) {
    Dims begin(planner.OutputDims().size(), 0);
    for (size_t i = 0; i < planner.node().inputs.size(); ++i) {
      const Dims dims = planner.InputDims(i);
      visit(i, planner.View(whole, whole.layout().submemory_desc(dims, begin)));
      begin[1] += dims[1];
    }
  }
};

const RegisterOp<ConcatOp> kEntry("concat");

}  // namespace
}  // namespace tessera::cpu
