// Reads one NumPy array file: the magic "\x93NUMPY", a version, the length of a header, the header (the text
// of a Python dictionary with `descr`, `fortran_order` and `shape`), then the elements.
// Source: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1.0 to 3.0.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/shape.h"

namespace tessera {

struct NpyArray {
  Shape shape;  // at least one dimension; none is 0
  // Row-major, as long as the product of the shape: of uint8; of float32 or float64 (rounded to float32); of
  // int32 or int64.
  std::variant<std::vector<uint8_t>, std::vector<float>, std::vector<int64_t>> values;
};

// Reads `path`, compressed by gzip or plain: little-endian, in C or Fortran order, of one of the types above.
// Memory is taken for the bytes that are there, whatever the header claims.
// Errors: kNotFound; kInvalidArgument, another kind of file or array (says what was found); kDataLoss, a
// damaged header, truncated (says how many bytes of how many), trailing bytes, damaged compression, absurd
// dimensions. All name `path`.
absl::StatusOr<NpyArray> ReadNpyFile(const std::string& path);

}  // namespace tessera
