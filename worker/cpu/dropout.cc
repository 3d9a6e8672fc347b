#include "worker/nn/layers/dropout.h"

#include "worker/cpu/op.h"
#include "worker/cpu/parallel_for.h"
#include "worker/nn/dropout_mask.h"

namespace tessera::cpu {
namespace {

// The mask, a byte for each element, is made row-major as its elements are counted, then laid out as the
// input is; it stays until backward. Where nothing is dropped, the input is the output.
class DropoutOp final : public LayerOp<nn::Dropout> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor source = planner.Input(0);
    if (!planner.training() || layer().p == 0) return planner.SetOutput(source);
    PlanMask(planner);
    EmitProduct(planner, source, planner.NewOutput(source.layout()));
  }

  void PlanBackward(Planner& planner) override {
    if (layer().p == 0) return planner.PassInputGradient(0, planner.OutputGradient());
    const Tensor gradient = planner.NewInputGradient(0, planner.OutputGradient().layout());
    EmitProduct(planner, planner.OutputGradient(), gradient);
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  void PlanMask(Planner& planner) {
    const Layout source = planner.Input(0).layout();
    const Tensor plain = planner.NewTensor(Bytes(RowMajor(source.dims())));
    const int64_t samples = planner.batch(), length = NumElements(planner.node().output);
    planner.Emit(
        [memory = plain.memory, name = planner.node().name, p = layer().p, samples, length](const Run& run) {
          const nn::DropoutMask mask(run.key, name, p);
          auto* kept = static_cast<uint8_t*>(memory.get_data_handle());
          ParallelFor(samples, [&](int64_t n) {
            mask.Fill(static_cast<uint64_t>(n * length), absl::MakeSpan(kept + n * length, length));
          });
        },
        {plain});
    mask_ = planner.InLayout(plain, Bytes(source));
  }

  // Elements that pad a layout are 0 in the mask and in what it is multiplied with.
  void EmitProduct(Planner& planner, const Tensor& from, const Tensor& to) const {
    const int64_t count = static_cast<int64_t>(mask_.layout().get_size());
    const float scale = static_cast<float>(layer().scale());
    planner.Emit(
        [x = from.memory, y = to.memory, mask = mask_.memory, count, scale](const Run&) {
          const auto* source = static_cast<const float*>(x.get_data_handle());
          const auto* kept = static_cast<const uint8_t*>(mask.get_data_handle());
          auto* result = static_cast<float*>(y.get_data_handle());
          ParallelFor(count,
                      [=](int64_t k) { result[k] = source[k] * (scale * static_cast<float>(kept[k])); });
        },
        {from, to, mask_});
  }

  // The same places, of a byte each.
  static Layout Bytes(Layout layout) {
    layout.data.data_type = dnnl_u8;
    return layout;
  }

  Tensor mask_;
};

const RegisterOp<DropoutOp> kEntry("dropout");

}  // namespace
}  // namespace tessera::cpu
