#include "worker/nn/layers/batch_norm.h"

#include <algorithm>

#include "worker/cpu/op.h"
#include "worker/nn/batch_check.h"

namespace tessera::cpu {
namespace {

using Flags = dnnl::normalization_flags;
using Forward = dnnl::batch_normalization_forward;
using Backward = dnnl::batch_normalization_backward;

absl::Span<float> Floats(const dnnl::memory& memory) {
  return absl::MakeSpan(static_cast<float*>(memory.get_data_handle()),
                        memory.get_desc().get_size() / sizeof(float));
}

// The layer's weight and bias, one behind the other in their block, are oneDNN's scale and shift.
class BatchNormOp final : public LayerOp<nn::BatchNorm> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    flags_ = Flags::use_scale_shift;
    if (!planner.training()) flags_ |= Flags::use_global_stats;
    if (planner.FuseRelu(ReluFusion::kBoth)) flags_ |= Flags::fuse_norm_relu;
    source_ = planner.Input(0);
    scale_shift_ = planner.Weights(0, RowMajor({2, Channels(planner)}));
    const Forward::desc operation(planner.forward_kind(), source_.layout(), Epsilon(), flags_);
    forward_ = {operation, Planner::Attributes(), planner.engine()};
    const Tensor output = planner.NewOutput(forward_.dst_desc());
    if (planner.training()) {
      PlanTraining(planner, output);
    } else {
      PlanEvaluation(planner, output);
    }
  }

  void PlanBackward(Planner& planner) override {
    const Layout layout = source_.layout();
    const Backward::desc operation(dnnl::prop_kind::backward, layout, layout, Epsilon(),
                                   flags_ & (Flags::use_scale_shift | Flags::fuse_norm_relu));
    const Backward::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(), forward_);
    const Tensor gradient = planner.NewInputGradient(0, descriptor.diff_src_desc());
    const Tensor scale_shift_gradient = planner.WeightGradient(0, scale_shift_.layout());
    Planner::Arguments arguments = {{DNNL_ARG_SRC, source_},
                                    {DNNL_ARG_MEAN, mean_},
                                    {DNNL_ARG_VARIANCE, variance_},
                                    {DNNL_ARG_SCALE_SHIFT, scale_shift_},
                                    {DNNL_ARG_DIFF_DST, planner.OutputGradient()},
                                    {DNNL_ARG_DIFF_SRC, gradient},
                                    {DNNL_ARG_DIFF_SCALE_SHIFT, scale_shift_gradient}};
    if (FusesRelu()) arguments.emplace_back(DNNL_ARG_WORKSPACE, relu_mask_);
    planner.Emit(descriptor, std::move(arguments));
    PlanStatistics(planner);
    planner.WeightGradientDone();
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  void PlanTraining(Planner& planner, const Tensor& output) {
    mean_ = planner.NewTensor(forward_.mean_desc());
    variance_ = planner.NewTensor(forward_.variance_desc());
    Planner::Arguments arguments = {{DNNL_ARG_SRC, source_},
                                    {DNNL_ARG_DST, output},
                                    {DNNL_ARG_SCALE_SHIFT, scale_shift_},
                                    {DNNL_ARG_MEAN, mean_},
                                    {DNNL_ARG_VARIANCE, variance_}};
    if (FusesRelu()) {
      relu_mask_ = planner.NewTensor(forward_.workspace_desc());
      arguments.emplace_back(DNNL_ARG_WORKSPACE, relu_mask_);
    }
    planner.Emit(forward_, std::move(arguments));
    // A relu makes zeros of NaN, but the moments keep them.
    planner.Emit(
        [mean = mean_.memory, variance = variance_.memory](Run& run) {
          run.finite = run.finite && nn::AllFinite(Floats(mean)) && nn::AllFinite(Floats(variance));
        },
        {mean_, variance_});
  }

  void PlanEvaluation(Planner& planner, const Tensor& output) {
    planner.Emit(forward_, {{DNNL_ARG_SRC, source_},
                            {DNNL_ARG_DST, output},
                            {DNNL_ARG_SCALE_SHIFT, scale_shift_},
                            {DNNL_ARG_MEAN, planner.Statistics(0, forward_.mean_desc())},
                            {DNNL_ARG_VARIANCE, planner.Statistics(1, forward_.variance_desc())}});
  }

  // oneDNN's variance is the biased one.
  void PlanStatistics(Planner& planner) {
    const Dims dims = planner.InputDims(0);
    const double count = static_cast<double>(dims[0] * dims[2] * dims[3]);
    const double unbias = count > 1 ? count / (count - 1) : 1.0;
    const Tensor mean_out = planner.StatisticGradient(0, mean_.layout());
    const Tensor variance_out = planner.StatisticGradient(1, variance_.layout());
    planner.Emit(
        [=, mean = mean_.memory, variance = variance_.memory](Run&) {
          std::ranges::copy(Floats(mean), Floats(mean_out.memory).begin());
          std::ranges::transform(Floats(variance), Floats(variance_out.memory).begin(),
                                 [unbias](float value) { return static_cast<float>(value * unbias); });
        },
        {mean_, variance_});
  }

  static int64_t Channels(const Planner& planner) { return planner.InputDims(0)[1]; }
  float Epsilon() const { return static_cast<float>(layer().eps); }
  bool FusesRelu() const { return (flags_ & Flags::fuse_norm_relu) != Flags::none; }

  Flags flags_ = Flags::none;
  Forward::primitive_desc forward_;
  Tensor source_, scale_shift_, mean_, variance_, relu_mask_;
};

const RegisterOp<BatchNormOp> kEntry("batch_norm");

}  // namespace
}  // namespace tessera::cpu
