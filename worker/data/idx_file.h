// Reads one IDX file, the format of MNIST: two zero bytes, the element type, the number of dimensions, each
// dimension as a big-endian 32-bit number, then the elements. Only unsigned bytes (type 0x08) are read.
// Source: http://yann.lecun.com/exdb/mnist/.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace tessera {

struct IdxArray {
  std::vector<uint32_t> dimensions;  // outermost first; none is 0
  std::vector<uint8_t> values;       // row-major, as long as the product of the dimensions
};

// Reads `path`, compressed by gzip or plain, which must have `dimensions` dimensions. Memory is taken for
// the bytes that are there, whatever the header claims.
// Errors: kNotFound; kInvalidArgument, another kind of file (says what was found); kDataLoss, truncated (says
// how many bytes of how many), trailing bytes, damaged compression, absurd dimensions. All name `path`.
absl::StatusOr<IdxArray> ReadIdxFile(const std::string& path, int dimensions);

}  // namespace tessera
