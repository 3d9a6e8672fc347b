// What a layer computes, written so plainly that it can be read against its formula (worker/nn/layers/*.h):
// loops over indices, sums in double, nothing kept between calls. Fast executors are tested against this. One
// layer's op per file, of the layer's name, in float and double (the latter for finite differences).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "common/check.h"
#include "common/registry.h"
#include "common/shape.h"
#include "worker/nn/executor.h"
#include "worker/nn/layer.h"

namespace tessera::reference {

// The node that an op is made for. Shapes are without the batch.
struct OpNode {
  std::shared_ptr<const nn::Layer> layer;
  std::vector<Shape> inputs;
  Shape output;
  std::string name;  // the layer's; keys its randomness
};

template <typename T>
struct ForwardArguments {
  int64_t batch = 0;
  bool training = true;
  std::vector<absl::Span<const T>> inputs;  // [N, ...]
  absl::Span<const T> weights;              // the layer's weight block
  absl::Span<const T> running;              // its statistic block; read in evaluation
  absl::Span<const int32_t> labels;         // [N]; for the loss
  absl::Span<T> output;                     // [N, ...]; every element is written
  absl::Span<T> statistics;                 // in training: as long as `running`; every element is written
  nn::StepKey key;                          // of the step's randomness; in training
};

template <typename T>
struct BackwardArguments {
  int64_t batch = 0;
  std::vector<absl::Span<const T>> inputs;  // as in forward, as are weights and labels
  absl::Span<const T> weights;
  absl::Span<const int32_t> labels;
  absl::Span<const T> output_gradient;  // [N, ...]; the loss's own is the scalar 1
  std::vector<absl::Span<T>>
      input_gradients;             // one per input; empty: not wanted; else every element is written
  absl::Span<T> weight_gradients;  // every element is written
  nn::StepKey key;                 // as in forward
};

// Immutable: outputs are pure functions of the arguments.
template <typename T>
class Op {
 public:
  virtual ~Op() = default;
  virtual void Forward(const ForwardArguments<T>& arguments) const = 0;
  // The gradient of training mode's forward.
  virtual void Backward(const BackwardArguments<T>& arguments) const = 0;
};

// Ops by the kind of their layer.
template <typename T>
using OpRegistry = Registry<Op<T>, OpNode>;

// Base of an op with typed attributes.
template <typename T, typename LayerType>
class LayerOp : public Op<T> {
 public:
  explicit LayerOp(OpNode node)
      : node_(std::move(node)), layer_(dynamic_cast<const LayerType*>(node_.layer.get())) {
    TESSERA_CHECK(layer_ != nullptr);
  }

 protected:
  const LayerType& layer() const { return *layer_; }
  const std::string& name() const { return node_.name; }
  size_t num_inputs() const { return node_.inputs.size(); }
  const Shape& input(size_t i = 0) const { return node_.inputs[i]; }
  const Shape& output() const { return node_.output; }

 private:
  const OpNode node_;
  const LayerType* const layer_;
};

// One of these at the end of a file registers the op for both scalars:
// `const RegisterOp<Conv2dOp> kEntry("conv2d");`
template <template <typename> class OpOf>
struct RegisterOp {
  explicit RegisterOp(const char* kind) : in_float(kind, &Make<float>), in_double(kind, &Make<double>) {}

  const typename OpRegistry<float>::Entry in_float;
  const typename OpRegistry<double>::Entry in_double;

 private:
  template <typename T>
  static absl::StatusOr<std::unique_ptr<Op<T>>> Make(OpNode node) {
    return std::make_unique<OpOf<T>>(std::move(node));
  }
};

}  // namespace tessera::reference
