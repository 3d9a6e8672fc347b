// One differentiable step of a graph, as pure data: attributes, shapes and parameters, no device.
// Source of truth for shape errors; executors look up the op of the same kind. One layer per file in layers/.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/options.h"
#include "common/parameter_spec.h"
#include "common/registry.h"
#include "common/shape.h"

namespace tessera::nn {

// What a layer makes of its inputs. Shapes are without the batch: [C,H,W] or [F].
struct LayerShape {
  Shape output;
  std::vector<ParameterSpec> parameters;  // local names ("weight", "running_mean"); the graph adds the prefix
};

// Immutable. Subclasses expose their attributes as const members, in PyTorch's words.
class Layer {
 public:
  virtual ~Layer() = default;

  // "conv2d", "linear", ...: the registered name; executors register ops under it.
  virtual std::string kind() const = 0;

  // Output shape and parameters for `inputs` (one shape per input).
  // Errors: kInvalidArgument, the shapes cannot agree; the graph puts the layer's name in front.
  virtual absl::StatusOr<LayerShape> Infer(absl::Span<const Shape> inputs) const = 0;
};

// Factories take the layer's options from a job file (all but `name`, `type`, `inputs`) and must Finish()
// them.
using LayerRegistry = Registry<Layer, Options>;

}  // namespace tessera::nn
