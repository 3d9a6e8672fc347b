#include "worker/nn/layers/conv2d.h"

#include <absl/strings/match.h>

#include "worker/cpu/op.h"

namespace tessera::cpu {
namespace {

using Forward = dnnl::convolution_forward;
using BackwardData = dnnl::convolution_backward_data;
using BackwardWeights = dnnl::convolution_backward_weights;

constexpr auto kDirect = dnnl::algorithm::convolution_direct;
constexpr int64_t kChannelBlock = 16;  // of oneDNN's layouts for AVX-512

// Whether oneDNN found no implementation of its own for the processor.
bool IsFallback(const Forward::primitive_desc& descriptor) {
  const std::string name = descriptor.impl_info_str();
  return absl::StrContains(name, "ref") || absl::StrContains(name, "gemm");
}

class Conv2dOp final : public LayerOp<nn::Conv2d> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    forward_ = ChooseForward(planner, planner.FuseRelu(ReluFusion::kForward));
    source_ = planner.InputAs(0, forward_.src_desc());
    plain_weights_ = planner.Weights(0, RowMajor(WeightDims(planner)));
    weights_ = planner.InLayout(plain_weights_, forward_.weights_desc());
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
  // Blocked layouts are the fastest where they fit. Channels that fill no block are padded with zeros, and
  // the arithmetic on them is lost (more than half of it for 20 -> 50 channels); channels-last pads less.
  Forward::primitive_desc ChooseForward(const Planner& planner, bool relu) const {
    const Dims source = planner.InputDims(0), output = planner.OutputDims();
    const int64_t in = source[1] / layer().groups, out = layer().out_channels / layer().groups;
    const bool fits = in % kChannelBlock == 0 || planner.ReadsImages();
    if (!fits || out % kChannelBlock != 0) {
      const auto descriptor = MakeForward(planner, ChannelsLast(source), ChannelsLast(output), relu);
      if (!IsFallback(descriptor)) return descriptor;
    }
    return MakeForward(planner, AnyLayout(source), AnyLayout(output), relu);
  }

  Forward::primitive_desc MakeForward(const Planner& planner, const Layout& source, const Layout& output,
                                      bool relu) const {
    const Forward::desc operation(planner.forward_kind(), kDirect, source, AnyLayout(WeightDims(planner)),
                                  BiasLayout(), output, Strides(), Dilation(), Padding(), Padding());
    return {operation, Planner::Attributes(relu), planner.engine()};
  }

  void PlanWeightGradient(Planner& planner) {
    const BackwardWeights::desc operation(kDirect, forward_.src_desc(), AnyLayout(WeightDims(planner)),
                                          BiasLayout(), forward_.dst_desc(), Strides(), Dilation(), Padding(),
                                          Padding());
    const BackwardWeights::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(),
                                                     forward_);
    const Tensor gradient = planner.WeightGradient(0, RowMajor(WeightDims(planner)));
    const bool plain = descriptor.diff_weights_desc() == gradient.layout();
    const Tensor made = plain ? gradient : planner.NewTensor(descriptor.diff_weights_desc());
    Planner::Arguments arguments = {{DNNL_ARG_SRC, source_},
                                    {DNNL_ARG_DIFF_DST, planner.OutputGradient()},
                                    {DNNL_ARG_DIFF_WEIGHTS, made}};
    if (layer().bias) arguments.emplace_back(DNNL_ARG_DIFF_BIAS, planner.WeightGradient(1, BiasLayout()));
    planner.Emit(descriptor, std::move(arguments));
    if (!plain) planner.Reorder(made, gradient);
  }

  void PlanInputGradient(Planner& planner) {
    const BackwardData::desc operation(kDirect, forward_.src_desc(), AnyLayout(WeightDims(planner)),
                                       forward_.dst_desc(), Strides(), Dilation(), Padding(), Padding());
    const BackwardData::primitive_desc descriptor(operation, Planner::Attributes(), planner.engine(),
                                                  forward_);
    const bool as_forward = descriptor.weights_desc() == weights_.layout();
    const Tensor weights =
        as_forward ? weights_ : planner.InLayout(plain_weights_, descriptor.weights_desc());
    const Tensor gradient = planner.NewInputGradient(0, descriptor.diff_src_desc());
    planner.Emit(descriptor, {{DNNL_ARG_DIFF_DST, planner.OutputGradient()},
                              {DNNL_ARG_WEIGHTS, weights},
                              {DNNL_ARG_DIFF_SRC, gradient}});
    planner.DeliverInputGradient(0, gradient);
  }

  // Groups are a dimension of their own, in front; in memory that is the same.
  Dims WeightDims(const Planner& planner) const {
    const int64_t groups = layer().groups;
    const int64_t out = layer().out_channels / groups, in = planner.InputDims(0)[1] / groups;
    if (groups == 1) return {out, in, layer().kernel_h, layer().kernel_w};
    return {groups, out, in, layer().kernel_h, layer().kernel_w};
  }
  // Without a bias: the empty layout, by which oneDNN knows.
  Layout BiasLayout() const { return layer().bias ? RowMajor({layer().out_channels}) : Layout(); }
  Dims Strides() const { return {layer().stride, layer().stride}; }
  // Counted in gaps: 0 for neighbours.
  Dims Dilation() const { return {layer().dilation - 1, layer().dilation - 1}; }
  Dims Padding() const { return {layer().padding, layer().padding}; }

  Forward::primitive_desc forward_;
  Tensor source_, plain_weights_, weights_;
};

const RegisterOp<Conv2dOp> kEntry("conv2d");

}  // namespace
}  // namespace tessera::cpu
