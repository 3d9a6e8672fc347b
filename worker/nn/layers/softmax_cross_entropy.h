// The loss, and the last node of every graph: mean over the batch of the cross-entropy of softmax(x) and the
// label.
//   loss = (1/N) sum over n of (log(sum over k of exp(x[n,k])) - x[n,label[n]]), with the row's maximum taken
//   out first; dloss/dx[n,k] = (softmax(x[n])[k] - [k = label[n]]) / N.
// x: [N,classes]; the output is a scalar, shape [].
// Source: PyTorch's torch.nn.CrossEntropyLoss with reduction "mean".
#pragma once

#include <memory>
#include <string>

#include "worker/nn/layer.h"

namespace tessera::nn {

class SoftmaxCrossEntropy final : public Layer {
 public:
  // Errors: kInvalidArgument, any option.
  static absl::StatusOr<std::unique_ptr<Layer>> Create(Options options);

  std::string kind() const override { return "softmax_cross_entropy"; }
  absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const override;

 private:
  SoftmaxCrossEntropy() = default;
};

}  // namespace tessera::nn
