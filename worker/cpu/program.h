// What a plan runs: for each node a list of steps for forward and one for backward, planned once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <dnnl.hpp>
#include <functional>
#include <optional>
#include <vector>

#include "absl/types/span.h"
#include "worker/cpu/tensor.h"
#include "worker/nn/executor.h"

namespace tessera::cpu {

// What the steps of one pass read and write besides tensors.
struct Run {
  dnnl::stream stream;
  absl::Span<const int32_t> labels;  // [N]
  nn::StepKey key;                   // of the step's randomness; in training
  double loss_sum = 0;               // over the batch, in order
  int64_t correct = 0;
  absl::Span<const float> logits;  // [N,classes]: what the loss read, until the next pass
  bool finite = true;              // false: a step saw a number that is not, which its output may hide
};

using Step = std::function<void(Run& run)>;

// A memory over part of a parameter block; its address comes from the exchange.
struct BlockBinding {
  dnnl::memory memory;
  int64_t offset = 0;  // in elements from the start of the block
};

struct NodeProgram {
  std::vector<Step> forward;
  std::vector<Step> backward;
  // After so many steps of backward the gradient of the weights is complete; the rest is for the layers
  // below.
  size_t steps_to_weight_gradient = 0;
  std::vector<BlockBinding> weights;
  std::vector<BlockBinding> weight_gradients;
  std::vector<BlockBinding> statistics;           // running values; in evaluation
  std::vector<BlockBinding> statistic_gradients;  // of the batch; in training
  std::optional<Tensor> output;                   // none: the loss
};

}  // namespace tessera::cpu
