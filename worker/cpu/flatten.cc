#include "worker/nn/layers/flatten.h"

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

// Nothing but a layout: rows are the row-major image, read in another shape.
class FlattenOp final : public LayerOp<nn::Flatten> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor image = planner.InputAs(0, RowMajor(planner.InputDims(0)));
    planner.SetOutput(planner.View(image, RowMajor(planner.OutputDims())));
  }

  void PlanBackward(Planner& planner) override {
    planner.PassInputGradient(0, planner.View(planner.OutputGradient(), RowMajor(planner.InputDims(0))));
  }
};

const RegisterOp<FlattenOp> kEntry("flatten");

}  // namespace
}  // namespace tessera::cpu
