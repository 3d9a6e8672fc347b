// Tensor shapes, outermost dimension first ([N,C,H,W], OIHW, ...), as PyTorch writes them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tessera {

using Shape = std::vector<int64_t>;

// Product of the dimensions; 1 for a scalar.
int64_t NumElements(const Shape& shape);

// "[20,1,5,5]".
std::string ToString(const Shape& shape);

}  // namespace tessera
