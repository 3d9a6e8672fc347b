// How a layer is computed with oneDNN. One layer's op per file, of the layer's name, as in worker/reference.
#pragma once

#include <memory>

#include "common/check.h"
#include "common/registry.h"
#include "worker/cpu/planner.h"
#include "worker/nn/layer.h"

namespace tessera::cpu {

// Plans one node of one plan. It adds steps to the plan and keeps what backward needs of forward; it is not
// there any more when the steps run. oneDNN's exceptions may leave it.
class Op {
 public:
  virtual ~Op() = default;
  // Called in node order.
  virtual void PlanForward(Planner& planner) = 0;
  // In training, after all nodes' PlanForward, from the last node down, when the node needs gradients.
  virtual void PlanBackward(Planner& planner) = 0;
};

// Ops by the kind of their layer.
using OpRegistry = Registry<Op, std::shared_ptr<const nn::Layer>>;

// Base of an op with typed attributes.
template <typename LayerType>
class LayerOp : public Op {
 public:
  explicit LayerOp(std::shared_ptr<const nn::Layer> layer)
      : owner_(std::move(layer)), layer_(dynamic_cast<const LayerType*>(owner_.get())) {
    TESSERA_CHECK(layer_ != nullptr);
  }

 protected:
  const LayerType& layer() const { return *layer_; }

 private:
  const std::shared_ptr<const nn::Layer> owner_;
  const LayerType* const layer_;
};

// One of these at the end of a file: `const RegisterOp<Conv2dOp> kEntry("conv2d");`
template <typename OpType>
struct RegisterOp {
  explicit RegisterOp(const char* kind)
      : entry(kind, [](std::shared_ptr<const nn::Layer> layer) -> absl::StatusOr<std::unique_ptr<Op>> {
          return std::make_unique<OpType>(std::move(layer));
        }) {}
  const OpRegistry::Entry entry;
};

}  // namespace tessera::cpu
