// Reads and writes safetensors files: an 8-byte little-endian header length, a JSON header, then raw tensor
// bytes. Only dtype F32 is read and written.
// Source: https://github.com/huggingface/safetensors (format description).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/shape.h"

namespace tessera {

struct NamedTensor {
  Shape shape;
  std::vector<float> values;  // row-major, NumElements(shape) long
};
using NamedTensors = std::map<std::string, NamedTensor>;  // in byte order of the names

// A tensor whose values stay where they are.
struct TensorView {
  Shape shape;
  absl::Span<const float> values;  // row-major, NumElements(shape) long
};
using TensorViews = std::map<std::string, TensorView>;  // in byte order of the names

// What such a file begins with: the header's length and the header. The tensors' bytes follow in the order of
// the map, without a gap.
// Errors: kInvalidArgument, a tensor whose values do not fill its shape, a name or metadata that the format
// cannot hold (`__metadata__`, not UTF-8), or more than a reader takes.
absl::StatusOr<std::string> SafetensorsPreamble(const TensorViews& tensors,
                                                const std::map<std::string, std::string>& metadata);

// Writes to `path` atomically (a temporary beside it, fsync, rename).
// Errors: kUnavailable or kResourceExhausted (disk full), with the path; kInvalidArgument, a tensor whose
// values do not fill its shape, or a name that the format cannot hold (`__metadata__`, or not UTF-8).
absl::Status WriteSafetensors(const std::string& path, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata);

// Nothing in the file is believed before it is checked: lengths against the file's size, offsets for gaps and
// overlaps, shapes against the bytes they claim.
// Errors: kNotFound; kDataLoss, truncated, malformed, or offsets that do not tile the data; kUnimplemented,
// another dtype than F32; kInvalidArgument, not a regular file; kUnavailable, the system cannot read it. The
// message names path and tensor.
absl::StatusOr<NamedTensors> ReadSafetensors(const std::string& path);

// SHA-256, in lower-case hex, over all tensors in byte order of their names; for each: name, a NUL, the raw
// little-endian float32 bytes. Equal digests mean equal weights to the last bit.
std::string WeightsDigest(const NamedTensors& tensors);

}  // namespace tessera
