// `model.layers`: a network as a list of layers.
#pragma once

#include "config/field.h"

namespace tessera {

// Each layer: { type: conv2d, name: conv1, inputs: [image], ...options of the type }. `name` may be left out,
// and `inputs` where the layer before is meant. What types, names and inputs there are is checked with the
// network.
Field LayersField();

}  // namespace tessera
