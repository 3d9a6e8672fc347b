// What a graph says of one of its named tensors, so that servers can hold and initialise it
// without the graph.
#pragma once

#include <string>

#include "common/shape.h"

namespace tessera {

// How a parameter starts. Only exactly rounded operations, so that every machine makes the same bits.
struct Initializer {
  enum class Kind { kConstant, kUniform };
  Kind kind = Kind::kConstant;
  float value = 0;  // kConstant: every element; kUniform: elements are uniform in [-value, value)
  friend bool operator==(const Initializer&, const Initializer&) = default;
};

enum class ParameterKind {
  kWeight,     // trained by the optimizer
  kStatistic,  // a batch-norm running mean or variance: averaged, never optimised, always float32
};

// A named tensor of float32, named and laid out as PyTorch does (`layer1.0.conv1.weight`, OIHW).
struct ParameterSpec {
  std::string name;
  Shape shape;
  ParameterKind kind = ParameterKind::kWeight;
  Initializer init;
};

}  // namespace tessera
