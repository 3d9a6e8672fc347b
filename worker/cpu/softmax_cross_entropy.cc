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
    planner.Emit([x = logits.memory, classes](Run& run) { Forward(Rows(x, run, classes), classes, run); },
                 {logits});
  }

  void PlanBackward(Planner& planner) override {
    const size_t classes = static_cast<size_t>(planner.InputDims(0)[1]);
    const Tensor gradient = planner.NewInputGradient(0, RowMajor(planner.InputDims(0)));
    planner.Emit([x = logits_.memory, dx = gradient.memory, classes](
                     Run& run) { Backward(Rows(x, run, classes), classes, run, Rows(dx, run, classes)); },
                 {logits_, gradient});
    planner.DeliverInputGradient(0, gradient);
  }

 private:
  static absl::Span<float> Rows(const dnnl::memory& memory, const Run& run, size_t classes) {
    return absl::MakeSpan(static_cast<float*>(memory.get_data_handle()), run.labels.size() * classes);
  }

  static void Forward(absl::Span<const float> x, size_t classes, Run& run) {
    run.loss_sum = 0;
    for (size_t n = 0; n < run.labels.size(); ++n) {
      const auto row = x.subspan(n * classes, classes);
      run.loss_sum += LogSumExp(row) - row[run.labels[n]];
    }
    run.correct = nn::CountCorrect(x, run.labels);
  }

  static void Backward(absl::Span<const float> x, size_t classes, const Run& run, absl::Span<float> dx) {
    const double scale = 1.0 / static_cast<double>(run.labels.size());
    for (size_t n = 0; n < run.labels.size(); ++n) {
      const auto row = x.subspan(n * classes, classes);
      const double log_sum_exp = LogSumExp(row);
      for (size_t k = 0; k < classes; ++k) {
        const double target = static_cast<size_t>(run.labels[n]) == k ? 1 : 0;
        dx[n * classes + k] = static_cast<float>((std::exp(row[k] - log_sum_exp) - target) * scale);
      }
    }
  }

  Tensor logits_;
};

const RegisterOp<SoftmaxCrossEntropyOp> kEntry("softmax_cross_entropy");

}  // namespace
}  // namespace tessera::cpu
