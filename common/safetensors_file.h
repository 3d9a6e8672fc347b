// A safetensors file, open for reading: its header is read and checked, its values are read when asked for, a
// piece at a time, so that a node holds no more of a big file than it needs.
// Source: https://github.com/huggingface/safetensors (format description).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/file.h"
#include "common/shape.h"

namespace tessera {

// Movable. Safe from several threads.
class SafetensorsFile {
 public:
  struct Tensor {
    std::string dtype;  // as the file writes it: "F32", "BF16", "I64", ...
    Shape shape;
    int64_t begin = 0;  // of its bytes, from the start of the file
    int64_t end = 0;
  };

  // Reads and checks the header alone. Nothing in it is believed before: lengths against the file's size,
  // offsets for gaps and overlaps, shapes against the bytes they claim.
  // Errors: kNotFound; kDataLoss, truncated, malformed, a name twice, or offsets that do not tile the data;
  // kUnimplemented, a dtype that is not known; kInvalidArgument, not a regular file; kUnavailable, the system
  // cannot read it. The message names path and tensor.
  static absl::StatusOr<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const std::map<std::string, Tensor>& tensors() const { return tensors_; }  // in byte order of the names

  // The entries of the header's `__metadata__` that are texts.
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

  // Whether Read can give a tensor of `dtype`: F64, F32, F16, BF16.
  static bool IsFloat(const std::string& dtype);

  // Fills `out` with the elements from `first` on of `name`, row-major, as float32: exact, but that F64 is
  // rounded to the nearest.
  // Errors: kNotFound, no such tensor; kOutOfRange, it has fewer elements; kUnimplemented, another dtype than
  // IsFloat's; kDataLoss, the file has become shorter; kUnavailable, the system cannot read it. The message
  // names path and tensor.
  absl::Status Read(const std::string& name, int64_t first, absl::Span<float> out) const;

 private:
  SafetensorsFile(InputFile file, std::map<std::string, Tensor> tensors,
                  std::map<std::string, std::string> metadata);
  absl::Status ReadTensor(const Tensor& tensor, int64_t first, absl::Span<float> out) const;

  InputFile file_;
  std::map<std::string, Tensor> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace tessera
