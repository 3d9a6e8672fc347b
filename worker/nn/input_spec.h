// What a sample brings to a network: tensors with names, [C,H,W] each or a row [F]. Most networks have one,
// the image; a multi-modal one has several.
#pragma once

#include <string>

#include "common/shape.h"

namespace tessera::nn {

// The one input of a data set of images, and what the networks of the zoo take.
inline constexpr char kImageName[] = "image";

struct InputSpec {
  std::string name;  // layers refer to it
  Shape shape;       // without the batch
  friend bool operator==(const InputSpec&, const InputSpec&) = default;
};

}  // namespace tessera::nn
