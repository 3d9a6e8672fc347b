// Bounds the norm of one replica's gradient, over all its weights together, before any of it is pushed.
//   norm = sqrt(sum of squares over all weight blocks);  every gradient *= max_norm / (norm + 1e-6), if that is below 1
// So the whole backward has to be over before the first push: a job that clips gives up the overlap of the two.
// Batch-norm statistics are no gradients and do not come here.
// Source: Pascanu et al. 2013; torch.nn.utils.clip_grad_norm_, norm_type 2.
#pragma once

#include <memory>
#include <vector>

#include "common/tensor_buffer.h"

namespace tessera {

struct BlockGradient {
  int block = 0;
  std::shared_ptr<TensorBuffer> gradient;
};

// Holds gradients until a minibatch has all of them. Not thread-safe.
class GradientClipper {
 public:
  // `blocks` gradients make one minibatch; max_norm > 0.
  GradientClipper(double max_norm, int blocks) : max_norm_(max_norm), blocks_(blocks) {}

  // Takes the gradient of a block, each once a minibatch. The last one gives all of them back, scaled, in the order in
  // which they came; the others nothing.
  std::vector<BlockGradient> Add(BlockGradient gradient);

 private:
  const double max_norm_;
  const int blocks_;
  std::vector<BlockGradient> held_;
};

// The sum of squares, in float64 and in one fixed order.
double SumOfSquares(absl::Span<const float> values);

}  // namespace tessera
