// Labelled samples. Each brings the same inputs: one image, or several tensors of different kinds
// (multi-modal). One format per file in worker/data; thread-safe once created.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/options.h"
#include "common/registry.h"
#include "worker/nn/input_spec.h"

namespace tessera {

// The values of one input of one sample, as they are stored.
using InputValues = std::variant<absl::Span<const uint8_t>,  // pixels, 0..255
                                 absl::Span<const float>>;   // numbers, all finite

class Dataset {
 public:
  virtual ~Dataset() = default;
  virtual uint32_t size() const = 0;
  // What a sample brings, at least one; a data set of images has `image` [C,H,W].
  virtual const std::vector<nn::InputSpec>& inputs() const = 0;
  virtual int32_t classes() const = 0;  // labels are 0 .. classes-1
  virtual int32_t Label(uint32_t index) const = 0;
  // By label; empty where the format knows none.
  virtual std::vector<std::string> class_names() const { return {}; }

  // Reads the values that Create has left on disk; afterwards it does nothing. Who needs values calls it
  // first: shapes, counts and labels are there without. Errors: kDataLoss, a damaged file; those of the
  // format.
  virtual absl::Status Load() const { return absl::OkStatus(); }
  // Of input `input` of sample `index`, row-major, after Load; the same kind for all samples, valid as long
  // as the data set.
  virtual InputValues Values(uint32_t index, size_t input) const = 0;

  // Whether this may be the test set beside `train`. Errors: kInvalidArgument, both are cut from the same
  // files, but so that a sample may be in both.
  virtual absl::Status CheckBeside(const Dataset& /*train*/) const { return absl::OkStatus(); }
};

// Factories take `data.train` or `data.test` but `format`: `path`, `split`, ... and must Finish() them.
using DatasetRegistry = Registry<Dataset, Options>;

}  // namespace tessera
