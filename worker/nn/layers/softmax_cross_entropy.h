// The loss, and the last node of every graph: mean over the batch of the cross-entropy of softmax(x) and the
// target.
//   loss = (1/N) sum over n of (log(sum over k of exp(x[n,k])) - sum over k of target[n,k] * x[n,k]), with
//   the row's maximum taken out first; dloss/dx[n,k] = (softmax(x[n])[k] - target[n,k]) / N; target[n,k] =
//   (1-label_smoothing) * [k = label[n]] + label_smoothing / classes.
// x: [N,classes]; the output is a scalar, shape [].
// Options: label_smoothing = 0, in [0, 1]. It counts in evaluation too, as in PyTorch.
// Source: PyTorch's torch.nn.CrossEntropyLoss with reduction "mean"; Szegedy et al. 2016, "Rethinking the
// Inception Architecture", section 7.
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class SoftmaxCrossEntropy final : public Layer {
 public:
  // Errors: kInvalidArgument, an option unknown or out of range.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "softmax_cross_entropy"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

  const double label_smoothing;

 private:
  explicit SoftmaxCrossEntropy(double label_smoothing) : label_smoothing(label_smoothing) {}
};

}  // namespace tessera::nn
