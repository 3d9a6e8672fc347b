#include "worker/nn/layers/softmax_cross_entropy.h"

#include <algorithm>
#include <cmath>

#include "worker/cpu/op.h"
#include "worker/nn/batch_check.h"

namespace tessera::cpu {
namespace {

// log(sum of exp(row)), without overflow: the maximum is taken out first.
double LogSumExp(absl::Span<const float> row) {
  const double max = *std::max_element(row.begin(), row.end());
  double sum = 0;
  for (float value : row) sum += std::exp(value - max);
  return max + std::log(sum);
}

// By hand and in float64: there are as many numbers as classes, and the loss is summed over whole test sets.
class SoftmaxCrossEntropyOp final : public LayerOp<nn::SoftmaxCrossEntropy> {
 public:
  using LayerOp::LayerOp;

  void PlanForward(Planner& planner) override {
    const Tensor logits = planner.InputAs(0, RowMajor(planner.InputDims(0)));
    logits_ = logits;
    const size_t classes = static_cast<size_t>(planner.InputDims(0)[1]);
    planner.Emit([x = logits.memory, classes, smoothing = layer().label_smoothing](
                     Run& run) { Forward(Rows(x, run, classes), classes, smoothing, run); },
                 {logits});
  }

  void PlanBackward(Planner& planner) override {
    const size_t classes = static_cast<size_t>(planner.InputDims(0)[1]);
    const Tensor gradient = planner.NewInputGradient(0, RowMajor(planner.InputDims(0)));
    planner.Emit(
        [x = logits_.memory, dx = gradient.memory, classes, smoothing = layer().label_smoothing](Run& run) {
          Backward(Rows(x, run, classes), classes, smoothing, run, Rows(dx, run, classes));
        },
        {logits_, gradient});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  static absl::Span<float> Rows(const dnnl::memory& memory, const Run& run, size_t classes) {
    return absl::MakeSpan(static_cast<float*>(memory.get_data_handle()), run.labels.size() * classes);
  }

  static void Forward(absl::Span<const float> x, size_t classes, double smoothing, Run& run) {
    run.loss_sum = 0;
    for (size_t n = 0; n < run.labels.size(); ++n) {
      const auto row = x.subspan(n * classes, classes);
      run.loss_sum += LogSumExp(row) - TargetLogit(row, static_cast<size_t>(run.labels[n]), smoothing);
    }
    run.correct = nn::CountCorrect(x, run.labels);
    run.logits = x;
  }

  // Sum over k of target[k] * row[k].
  static double TargetLogit(absl::Span<const float> row, size_t label, double smoothing) {
    if (smoothing == 0) return row[label];
    double sum = 0;
    for (float logit : row) sum += logit;
    return (1 - smoothing) * row[label] + smoothing * sum / static_cast<double>(row.size());
  }

  static void Backward(absl::Span<const float> x, size_t classes, double smoothing, const Run& run,
                       absl::Span<float> dx) {
    const double scale = 1.0 / static_cast<double>(run.labels.size());
    const double others = smoothing / static_cast<double>(classes);
    for (size_t n = 0; n < run.labels.size(); ++n) {
      const auto row = x.subspan(n * classes, classes);
      const double log_sum_exp = LogSumExp(row);
      for (size_t k = 0; k < classes; ++k) {
        const double target = (static_cast<size_t>(run.labels[n]) == k ? 1 - smoothing : 0) + others;
        dx[n * classes + k] = static_cast<float>((std::exp(row[k] - log_sum_exp) - target) * scale);
      }
    }
  }

  Tensor logits_;
};

const RegisterOp<SoftmaxCrossEntropyOp> kEntry("softmax_cross_entropy");

}  // namespace
}  // namespace tessera::cpu
