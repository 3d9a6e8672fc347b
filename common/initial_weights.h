// The values a parameter starts with: a pure function of (seed, name, element), so that each server
// initialises its own shards and any number of servers starts from the same bits.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "common/parameter_spec.h"

namespace tessera {

// Writes elements [first_element, first_element + out.size()) of `parameter`, as its Initializer says.
// kUniform: (2u - 1) * value in float32; u in [0, 1) is the element's draw of stream (seed, kInitialWeights,
// HashName(name)).
void FillInitial(uint64_t seed, const ParameterSpec& parameter, int64_t first_element, absl::Span<float> out);

}  // namespace tessera
